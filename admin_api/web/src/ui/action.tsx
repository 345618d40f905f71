// Buttons that change something: offered to those who may, usable while the gateway answers. And what came of it.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { may, Problem } from "../api";
import { readOnly } from "../live";
import type { Role } from "../types";

interface Notice {
  text: string;
  hint: string;
  bad: boolean;
}

const notice = signal<Notice | null>(null);
let timer: number | undefined;

/** Tells what was done, for some seconds. */
export function tell(text: string, hint = "", bad = false): void {
  notice.value = { text, hint, bad };
  clearTimeout(timer);
  timer = window.setTimeout(
    () => {
      notice.value = null;
    },
    bad ? 12_000 : 5000,
  );
}

/** What was told is of another page. */
export function hush(): void {
  notice.value = null;
}

/** Does something that may be refused, and tells. */
export async function attempt(done: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
    tell(done);
  } catch (error) {
    if (error instanceof Problem) tell(error.detail, error.hint, true);
    else throw error;
  }
}

export function Notices() {
  const shown = notice.value;
  return (
    <div class="notices" role="status" aria-live="polite">
      {shown && (
        <div class={`notice ${shown.bad ? "bad" : ""}`}>
          <p>{shown.text}</p>
          {shown.hint && <p class="muted">{shown.hint}</p>}
        </div>
      )}
    </div>
  );
}

export function Action(props: {
  needs: Role;
  onClick: () => void;
  kind?: "primary" | "danger" | "plain";
  /** It works while the gateway is down: it is the service's own. */
  own?: boolean;
  label?: string;
  children: ComponentChildren;
}) {
  if (!may(props.needs)) return null;
  const off = readOnly.value && !props.own;
  return (
    <button
      type="button"
      class={props.kind ?? ""}
      disabled={off}
      title={off ? "The gateway does not answer: nothing can be changed now" : undefined}
      aria-label={props.label}
      onClick={props.onClick}
    >
      {props.children}
    </button>
  );
}
