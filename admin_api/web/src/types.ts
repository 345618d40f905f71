// What the REST interface answers, as far as the pages use it.

export type Role = "viewer" | "operator" | "admin";

export interface Session {
  name: string;
  role: Role;
  csrf_token: string;
  expires_s: number;
}

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

export interface Tier {
  hits: number;
  misses: number;
  bytes: number;
  capacity_bytes: number;
  errors: number;
  off: string | null;
}

export interface Shelf {
  path: string;
  state: string;
  why: string | null;
  hits: number;
  bytes: number;
  capacity_bytes: number;
  errors: number;
  damaged_blocks: number;
}

export interface Mirror {
  path: string;
  state: string;
  why: string;
  since_s?: number;
  copied_bytes?: number;
  to_copy_bytes?: number;
  losses?: number;
  last_loss?: string;
}

export interface Disk {
  path: string;
  free_bytes: number;
  total_bytes: number;
  device: number;
}

export interface ExportCounters {
  name: string;
  reads: number;
  read_bytes: number;
  writes: number;
  written_bytes: number;
}

export interface Status {
  age_s: number;
  gateway_down: string | null;
  version: string;
  pid: number;
  epoch: number;
  fs_id: string;
  cache: {
    l1: Tier;
    l2: Tier;
    shelves: Shelf[];
    pinned_blocks: number;
    bad_blocks: number;
    unreadable_blocks: number;
    prefetched_blocks: number;
    settings: { l1_bytes: number; shelf: string[]; changed: string[] };
  };
  store: { state: string; since_s: number; reads: string; writes: string; last_error: string | null };
  objects: Record<string, number>;
  journal: {
    mirrors: Mirror[];
    bytes: number;
    limit_bytes: number;
    segments: number;
    commits: number;
    commit_us_p50: number;
    commit_us_p99: number;
    oldest_unflushed_s: number | null;
  };
  io: Record<string, number>;
  flush: { dirty_bytes: number; dirty_inodes: number; lag_s: number | null; error: string | null };
  checkpoint: { lsn: number; error: string | null };
  backup: { age_s: number | null; error: string | null; snapshots: number; bytes: number };
  owner: { host: string; lease: string; lease_left_s: number };
  encryption: { state: string };
  disks: Record<string, Disk>;
  quotas: { trees: number; over_soft: number; nearly_full: number; full: number };
  audit: { exports: number; waiting: number; dropped: number };
  exports: ExportCounters[];
  namespace: { inodes: number; bytes: number };
}

export interface Finding {
  severity: "warning" | "critical";
  part: string;
  text: string;
}

export interface Health {
  state: "ok" | "warning" | "critical";
  read_only: boolean;
  findings: Finding[];
}

export interface Overview {
  host: string;
  version: string;
  now_s: number;
  costs: {
    currency: string | null;
    hour: number | null;
    day: number | null;
    month: number | null;
    budget_month: number | null;
  };
}

export interface Samples {
  step_s: number;
  from_s: number;
  to_s: number;
  series: Record<string, { unit: string; points: [number, number, number][] }>;
}

export interface Capacity {
  points: [number, number][];
  latest_bytes: number | null;
  bytes_a_day: number | null;
  fit: number | null;
  forecast: { days: number; used_bytes: number }[];
}

export interface Rule {
  clients: string[];
  access: "rw" | "ro" | "none";
  squash: "none" | "root" | "all";
}

/** Which operations on files are told. */
export type AuditLevel = "off" | "changes" | "all";

export interface Export {
  name: string;
  id: number;
  path: string;
  pseudo: string;
  rules: Rule[];
  security: string[];
  read_only: boolean;
  audit: AuditLevel;
  version: number;
  configured: boolean;
  serving: boolean;
}

export interface RateLimit {
  name: string;
  export?: string | null;
  client?: string | null;
  read_bytes_s: number;
  write_bytes_s: number;
  ops_s: number;
  burst_s: number;
  version: number;
  active: boolean;
  trial: boolean;
  passed: number;
  delayed: number;
  refused: number;
  delayed_s: number;
}

export interface Quota {
  id: string;
  path: string | null;
  hard_bytes: number | null;
  soft_bytes: number | null;
  hard_inodes: number | null;
  soft_inodes: number | null;
  grace_s: number;
  used_bytes: number;
  used_inodes: number;
  bytes_grace_ends_s: number | null;
  inodes_grace_ends_s: number | null;
}

export interface Held {
  files: number;
  directories: number;
  bytes: number;
  allocated_bytes: number;
}

export interface TreeEntry extends Held {
  name: string;
  id: string;
  is_directory: boolean;
}

export interface Tree extends Held, Page<TreeEntry> {
  id: string;
  path: string;
}

export interface Owned {
  id: number;
  inodes: number;
  bytes: number;
  allocated_bytes: number;
}

export interface Operation {
  id: string;
  kind: string;
  started_by: string;
  started_s: number;
  state: string;
  ended_s: number | null;
  progress: Record<string, unknown>;
  result: Record<string, unknown> | null;
  error: string | null;
}

export interface Pins {
  room_bytes: number;
  items: { path: string; bytes: number; held_bytes: number; why: string | null }[];
}

export interface Activity {
  half_life_s: number;
  all: Record<string, number>;
  clients: {
    address: string;
    reads: number;
    writes: number;
    names: number;
    read_bytes: number;
    written_bytes: number;
  }[];
  files: {
    inode: number;
    path: string | null;
    reads: number;
    writes: number;
    names: number;
    read_bytes: number;
    written_bytes: number;
  }[];
  directories: { inode: number; path: string | null; operations: number; bytes: number }[];
}

/** Reads of clients by where the farthest of what each needed was. */
export interface Hits {
  reads: number;
  l1: number;
  l2: number;
  store: number;
  hit_rate: number | null;
}

export interface HitRates {
  step_s: number;
  from_s: number;
  to_s: number;
  total: Hits;
  exports: Record<string, Hits>;
  points: (Hits & { at_s: number })[];
}

export interface Policy {
  on: boolean;
  interval_s: number;
  bounds: Record<string, { low: number; high: number }>;
  changes: Record<string, unknown>[];
  latest: Record<string, Record<string, unknown>>;
}

export interface PriceSheet {
  currency: string;
  prices: Record<string, number>;
  budget_month: number | null;
}

export interface ShownSheet {
  sheet: PriceSheet | null;
  items: Record<string, string>;
}

export interface Metered {
  from_s: number;
  to_s: number;
  currency: string | null;
  quantities: Record<string, number>;
  cost: number | null;
  cost_by_item: Record<string, number> | null;
  hours: { at_s: number; quantities: Record<string, number>; cost: number | null }[];
  exports: (ExportCounters & { cost: number | null })[];
}

export interface Alert {
  id: number;
  rule: string;
  severity: "warning" | "critical";
  text: string;
  value: number;
  fired_s: number;
  resolved_s: number | null;
  silenced: boolean;
}

export interface AlertRule {
  name: string;
  text: string;
  unit: string;
  state: "ok" | "pending" | "firing";
  severity: "warning" | "critical";
  enabled: boolean;
  above: number;
  clear: number;
  for_s: number;
  clear_for_s: number;
}

export interface Silence {
  id: number;
  rule: string;
  until_s: number;
  why: string;
  created_by: string;
}

export interface Target {
  name: string;
  kind: "webhook" | "email";
  where: string;
}

export interface Delivery {
  id: string;
  target: string;
  state: string;
  attempts: number;
  created_s: number;
  error: string | null;
}

export interface ConfigKey {
  key: string;
  value: unknown;
  source: "given" | "default" | "changed";
  help: string;
}

export interface User {
  name: string;
  role: Role;
  disabled: boolean;
  created_s: number;
}

export interface Token {
  id: string;
  name: string;
  role: Role;
  created_s: number;
  created_by: string;
  expires_s: number | null;
  token?: string | null;
}

export interface AuditRecord {
  at_s: number;
  principal: string;
  address: string;
  action: string;
  target: string;
  detail: Record<string, unknown>;
}
