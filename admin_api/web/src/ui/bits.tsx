// Small parts that every page uses.
import type { ComponentChildren } from "preact";
import type { Problem } from "../api";
import type { Resource } from "../resource";

export type Tone = "ok" | "warning" | "critical" | "plain";

export function Pill({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`pill ${tone}`}>{children}</span>;
}

export function Card(props: {
  title: string;
  actions?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}) {
  const id = `card-${props.title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return (
    <section class={`card ${props.class ?? ""}`} aria-labelledby={id}>
      <header class="card-head">
        <h2 id={id}>{props.title}</h2>
        {props.actions && <div class="actions">{props.actions}</div>}
      </header>
      {props.children}
    </section>
  );
}

/** The title of a page, what it is about, and what can be done there. */
export function Heading(props: { title: string; about?: string; actions?: ComponentChildren }) {
  return (
    <div class="heading">
      <div>
        <h1>{props.title}</h1>
        {props.about && <p class="muted">{props.about}</p>}
      </div>
      {props.actions && <div class="actions">{props.actions}</div>}
    </div>
  );
}

export function Stat(props: { label: string; value: string; note?: string; tone?: Tone; color?: number }) {
  return (
    <div class={`stat ${props.tone ?? ""}`}>
      <dt>
        {props.color !== undefined && <span class={`swatch series-${props.color}`} aria-hidden="true" />}
        {props.label}
      </dt>
      <dd>{props.value}</dd>
      {props.note && <dd class="note">{props.note}</dd>}
    </div>
  );
}

export function Stats({ children }: { children: ComponentChildren }) {
  return <dl class="stats">{children}</dl>;
}

/** How full something is. share: 0 to 1. */
export function Bar(props: { share: number; label: string; tone?: Tone }) {
  const width = Math.min(100, Math.max(0, props.share * 100));
  return (
    <div class="bar" role="img" aria-label={props.label}>
      <div class={`fill ${props.tone ?? "plain"}`} style={{ width: `${width}%` }} />
    </div>
  );
}

/** Nothing is there: says so, and what to do. */
export function Empty({ title, hint }: { title: string; hint?: ComponentChildren }) {
  return (
    <div class="empty">
      <p>{title}</p>
      {hint && <p class="muted">{hint}</p>}
    </div>
  );
}

export function Trouble({ problem, again }: { problem: Problem; again?: () => void }) {
  return (
    <div class="trouble" role="alert">
      <p>{problem.detail}</p>
      {problem.hint && <p class="muted">{problem.hint}</p>}
      {again && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Skeleton({ lines = 3 }: { lines?: number }) {
  return (
    <div class="loading" aria-busy="true" role="status">
      <span class="hidden">Loading</span>
      {Array.from({ length: lines }, (_, line) => (
        <div class="line" key={line} />
      ))}
    </div>
  );
}

/** What a resource holds, once it is there; meanwhile a place of about its size. */
export function Loaded<T>(props: {
  of: Resource<T>;
  lines?: number;
  children: (data: T) => ComponentChildren;
}) {
  const { data, problem, reload } = props.of;
  if (data === undefined && problem) return <Trouble problem={problem} again={() => void reload()} />;
  if (data === undefined) return <Skeleton lines={props.lines ?? 3} />;
  return (
    <>
      {problem && <Trouble problem={problem} />}
      {props.children(data)}
    </>
  );
}
