// The gateway's status, once a second by server-sent events, and what follows from two of them.
import { computed, signal } from "@preact/signals";
import { Problem, read, session } from "./api";
import type { Status } from "./types";

const SILENT_S = 6;
const AGAIN_MS = 3000;
/** Rates are means over so many seconds: steadier to read than single ones. */
const WINDOW_S = 4;

export interface Rates {
  read_bytes: number;
  written_bytes: number;
  reads: number;
  writes: number;
  commits: number;
  store_received: number;
  store_sent: number;
  read_us: number;
  write_us: number;
  commit_us: number;
}

/** How long requests took of late, in µs; null where there were none. */
export interface Latencies {
  read: number | null;
  write: number | null;
  commit: number | null;
}

export const status = signal<Status | null>(null);
export const rates = signal<Rates | null>(null);
export const latencies = computed<Latencies>(() => {
  const found = rates.value;
  const each = (sum = 0, times = 0) => (times > 0 ? sum / times : null);
  return {
    read: each(found?.read_us, found?.reads),
    write: each(found?.write_us, found?.writes),
    commit: each(found?.commit_us, found?.commits),
  };
});
/** Why no event came of late; null while they come. */
export const serviceDown = signal<string | null>(null);
/** Why the gateway does not answer, as far as the service tells. */
export const gatewayDown = signal<string | null>(null);
/** The browser's clock, seconds since 1970, once a second. */
export const now = signal(Date.now() / 1000);

/** Nothing can be changed just now. */
export const readOnly = computed(() => serviceDown.value !== null || gatewayDown.value !== null);
/** When the figures that are shown were true, seconds since 1970 by the browser's clock. */
export const asOf = signal<number | null>(null);

interface Mark {
  at: number;
  run: string;
  counters: Rates;
}

let marks: Mark[] = [];
let source: EventSource | null = null;
let heardAt = 0;

function countersOf(found: Status): Rates {
  const { io, objects } = found;
  return {
    read_bytes: io.read_bytes ?? 0,
    written_bytes: io.written_bytes ?? 0,
    reads: io.reads ?? 0,
    writes: io.writes ?? 0,
    commits: io.commits ?? 0,
    store_received: objects.get_bytes ?? 0,
    store_sent: objects.put_bytes ?? 0,
    read_us: io.read_us_sum ?? 0,
    write_us: io.write_us_sum ?? 0,
    commit_us: io.commit_us_sum ?? 0,
  };
}

function measure(found: Status, at: number): void {
  const run = `${found.epoch}/${found.pid}`;
  const last = marks.at(-1);
  if (last && last.run !== run) marks = [];
  if (last && at - last.at < 0.3) return;
  marks.push({ at, run, counters: countersOf(found) });
  while (marks.length > 2 && at - (marks[0]?.at ?? at) > WINDOW_S) marks.shift();
  const first = marks[0];
  if (!first || at - first.at < 0.3) return;
  const newest = countersOf(found);
  const grown = { ...newest };
  for (const name of Object.keys(grown) as (keyof Rates)[]) {
    grown[name] = Math.max(0, newest[name] - first.counters[name]) / (at - first.at);
  }
  rates.value = grown;
}

function take(found: Status): void {
  heardAt = Date.now() / 1000;
  serviceDown.value = null;
  gatewayDown.value = found.gateway_down;
  const at = heardAt - found.age_s;
  asOf.value = at;
  status.value = found;
  if (found.gateway_down === null) measure(found, at);
  else {
    marks = [];
    rates.value = null;
  }
}

function down(why: string): void {
  heardAt = Date.now() / 1000;
  serviceDown.value = null;
  gatewayDown.value = why;
}

function listen(): void {
  source?.close();
  source = new EventSource("/v1/events");
  source.addEventListener("status", (event) => take(JSON.parse(event.data) as Status));
  source.addEventListener("down", (event) => down((JSON.parse(event.data) as { detail: string }).detail));
  source.onerror = () => {
    if (source?.readyState === EventSource.CLOSED) setTimeout(again, AGAIN_MS);
  };
}

/** The stream was refused: the session ended, the service restarts, or too many streams are open. Then it is asked. */
async function again(): Promise<void> {
  if (!session.value || source === null || source.readyState !== EventSource.CLOSED) return;
  try {
    take(await read<Status>("status"));
    listen();
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return;
    if (error instanceof Problem && error.code === "gateway_down") {
      down(error.detail);
      listen();
    } else {
      setTimeout(again, AGAIN_MS);
    }
  }
}

export function start(): void {
  heardAt = Date.now() / 1000;
  listen();
}

export function stop(): void {
  source?.close();
  source = null;
  marks = [];
  status.value = null;
  rates.value = null;
  serviceDown.value = null;
  gatewayDown.value = null;
}

setInterval(() => {
  now.value = Date.now() / 1000;
  if (source !== null && now.value - heardAt > SILENT_S) {
    serviceDown.value = "the admin service does not answer";
    rates.value = null;
    marks = [];
  }
}, 1000);
