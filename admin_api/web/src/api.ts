// Requests to the admin service. Its errors are problem+json; every change carries the session's CSRF token.
import { signal } from "@preact/signals";
import type { Role, Session } from "./types";

const ORDER: Role[] = ["viewer", "operator", "admin"];

/** undefined: not known yet; null: nobody is signed in. */
export const session = signal<Session | null | undefined>(undefined);

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly hint = "",
  ) {
    super(detail);
  }
}

let ahead_s = 0;

/** The server's clock, seconds since 1970: the browser's may go wrong. */
export function serverNow(): number {
  return Date.now() / 1000 + ahead_s;
}

export interface Answer<T> {
  data: T;
  etag: string | null;
}

export interface Extras {
  etag?: string | null;
  /** For creations: a repeated request creates once. */
  key?: string;
}

export function may(role: Role): boolean {
  const mine = session.value?.role;
  return mine !== undefined && ORDER.indexOf(mine) >= ORDER.indexOf(role);
}

function problemOf(status: number, text: string): Problem {
  try {
    const body = JSON.parse(text) as { code: string; detail: string; hint?: string };
    return new Problem(status, body.code, body.detail, body.hint ?? "");
  } catch {
    return new Problem(status, "unreadable", `the admin service answered with status ${status}`, "try again");
  }
}

async function once<T>(method: string, path: string, body: unknown, extras: Extras): Promise<Answer<T>> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (extras.etag) headers["If-Match"] = extras.etag;
  if (extras.key) headers["Idempotency-Key"] = extras.key;
  if (method !== "GET" && session.value) headers["X-CSRF-Token"] = session.value.csrf_token;
  let response: Response;
  try {
    response = await fetch(`/v1/${path}`, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch {
    throw new Problem(0, "unreachable", "the admin service does not answer", "it is asked again by itself");
  }
  const date = Date.parse(response.headers.get("date") ?? "");
  if (!Number.isNaN(date)) ahead_s = Math.abs(date - Date.now()) < 2000 ? 0 : (date - Date.now()) / 1000;
  const text = await response.text();
  if (!response.ok) throw problemOf(response.status, text);
  return { data: (text ? JSON.parse(text) : undefined) as T, etag: response.headers.get("etag") };
}

/** One request. Raises Problem. A session that ended leads to the sign-in page. */
export async function ask<T>(
  method: string,
  path: string,
  body?: unknown,
  extras: Extras = {},
): Promise<Answer<T>> {
  try {
    return await once<T>(method, path, body, extras);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code === "csrf") {
      // Another tab of the same session took the next token: so do we.
      await resume();
      return await once<T>(method, path, body, extras);
    }
    if (error.status === 401 && !path.startsWith("session")) session.value = null;
    throw error;
  }
}

export async function read<T>(path: string): Promise<T> {
  return (await ask<T>("GET", path)).data;
}

/** All pages of a list, up to `most` items. */
export async function readAll<T>(path: string, most = 1000): Promise<T[]> {
  const found: T[] = [];
  let cursor: string | null | undefined;
  do {
    const mark = path.includes("?") ? "&" : "?";
    const more: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const page = await read<{ items: T[]; next_cursor?: string | null }>(`${path}${mark}limit=200${more}`);
    found.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && found.length < most);
  return found;
}

/** The session of the browser's cookie, if there is one. */
export async function resume(): Promise<void> {
  try {
    session.value = (await once<Session>("GET", "session", undefined, {})).data;
  } catch (error) {
    if (error instanceof Problem && error.status !== 401 && error.status !== 404) throw error;
    session.value = null;
  }
}

export async function signIn(name: string, password: string): Promise<void> {
  session.value = (await ask<Session>("POST", "session", { name, password })).data;
}

export async function signInByToken(token: string): Promise<void> {
  session.value = (await ask<Session>("POST", "session/token", { token })).data;
}

export async function signOut(): Promise<void> {
  try {
    await ask("DELETE", "session");
  } finally {
    session.value = null;
  }
}
