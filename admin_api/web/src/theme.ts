// Light or dark: as the system says, unless somebody chose here.
import { signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";
const KEY = "caudal-theme";

function kept(): Theme {
  const found = localStorage.getItem(KEY);
  return found === "light" || found === "dark" ? found : "system";
}

export const theme = signal<Theme>(kept());
/** Changes whenever colours do, so that charts are drawn anew. */
export const painted = signal(0);

function show(): void {
  const root = document.documentElement;
  if (theme.value === "system") root.removeAttribute("data-theme");
  else root.setAttribute("data-theme", theme.value);
  painted.value += 1;
}

export function choose(next: Theme): void {
  if (next === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, next);
  theme.value = next;
  show();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
show();
