// Which page is shown: the part of the address behind #/.
import { computed, signal } from "@preact/signals";

function current(): string {
  return location.hash.replace(/^#\/?/, "");
}

const place = signal(current());

/** The page's name, and what follows it. */
export const page = computed(() => place.value.split("/")[0] || "overview");
export const rest = computed(() => place.value.split("/").slice(1).map(decodeURIComponent).join("/"));

export function go(to: string): void {
  location.hash = `#/${to}`;
}

addEventListener("hashchange", () => {
  place.value = current();
});
