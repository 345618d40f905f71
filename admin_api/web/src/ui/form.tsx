// Dialogs that ask for something and send it; what the service refuses is told where it was asked.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Extras, Problem } from "../api";
import { Trouble } from "./bits";

export class FormError extends Problem {
  constructor(detail: string, hint = "") {
    super(422, "form", detail, hint);
  }
}

export function text(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === "string" ? value.trim() : "";
}

/** Runs what may be refused, one at a time. */
export function useSending(): {
  busy: boolean;
  problem: Problem | undefined;
  run: (work: () => Promise<void>) => Promise<boolean>;
} {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | undefined>(undefined);
  async function run(work: () => Promise<void>): Promise<boolean> {
    if (busy) return false;
    setBusy(true);
    setProblem(undefined);
    try {
      await work();
      return true;
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, "failed", String(error)));
      return false;
    } finally {
      setBusy(false);
    }
  }
  return { busy, problem, run };
}

export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    const before = document.activeElement;
    shown?.showModal();
    return () => {
      shown?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
    >
      <h2 id="dialog-title">{props.title}</h2>
      {props.children}
    </dialog>
  );
}

export function FormDialog(props: {
  title: string;
  submit: string;
  danger?: boolean;
  onClose: () => void;
  /** once: for creations, so that one that is sent again after a lost answer creates once. */
  onSubmit: (form: FormData, once: Extras) => Promise<void>;
  children?: ComponentChildren;
}) {
  const { busy, problem, run } = useSending();
  const key = useRef(crypto.randomUUID());
  async function send(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    if (await run(() => props.onSubmit(form, { key: key.current }))) props.onClose();
  }
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form onSubmit={send}>
        {props.children}
        {problem && <Trouble problem={problem} />}
        <div class="form-end">
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class={props.danger ? "danger" : "primary"} disabled={busy}>
            {busy ? "…" : props.submit}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

interface Common {
  name: string;
  label: string;
  hint?: string;
  value?: string | undefined;
}

function Described(props: Common & { children: ComponentChildren }) {
  return (
    <div class="field">
      <label for={`field-${props.name}`}>{props.label}</label>
      {props.children}
      {props.hint && (
        <p class="hint" id={`hint-${props.name}`}>
          {props.hint}
        </p>
      )}
    </div>
  );
}

export function Field(
  props: Common & {
    type?: "text" | "password" | "number" | "datetime-local" | "url";
    required?: boolean;
    placeholder?: string;
    autocomplete?: string;
    min?: number;
  },
) {
  return (
    <Described {...props}>
      <input
        id={`field-${props.name}`}
        name={props.name}
        type={(props.type ?? "text") as "text"}
        defaultValue={props.value ?? ""}
        required={props.required ?? false}
        placeholder={props.placeholder ?? ""}
        autocomplete={props.autocomplete ?? "off"}
        spellcheck={false}
        step={props.type === "number" ? "any" : undefined}
        aria-describedby={props.hint ? `hint-${props.name}` : undefined}
      />
    </Described>
  );
}

export function Area(props: Common & { rows?: number; required?: boolean }) {
  return (
    <Described {...props}>
      <textarea
        id={`field-${props.name}`}
        name={props.name}
        rows={props.rows ?? 3}
        required={props.required ?? false}
        spellcheck={false}
        defaultValue={props.value ?? ""}
        aria-describedby={props.hint ? `hint-${props.name}` : undefined}
      />
    </Described>
  );
}

export function Choice(props: Common & { options: [string, string][]; onChoose?: (value: string) => void }) {
  return (
    <Described {...props}>
      <select
        id={`field-${props.name}`}
        name={props.name}
        aria-describedby={props.hint ? `hint-${props.name}` : undefined}
        onChange={(event) => props.onChoose?.(event.currentTarget.value)}
      >
        {props.options.map(([value, label]) => (
          <option key={value} value={value} selected={value === props.value}>
            {label}
          </option>
        ))}
      </select>
    </Described>
  );
}

export function Check(props: { name: string; label: string; on?: boolean }) {
  return (
    <div class="field check">
      <input
        type="checkbox"
        id={`field-${props.name}`}
        name={props.name}
        defaultChecked={props.on ?? false}
      />
      <label for={`field-${props.name}`}>{props.label}</label>
    </div>
  );
}
