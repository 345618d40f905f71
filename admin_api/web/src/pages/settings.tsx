// Settings: the effective configuration and where each value comes from; who may sign in; who changed what.
import { useState } from "preact/hooks";
import { may, read } from "../api";
import { bytes, moment } from "../format";
import { useLoaded, useResource } from "../resource";
import type { AuditRecord, ConfigKey, Page } from "../types";
import { Card, Empty, Heading, Loaded, Pill, type Tone } from "../ui/bits";
import { Table } from "../ui/table";
import { IssuerCard } from "./issuer";
import { TokensCard, UsersCard } from "./people";

const SOURCES: Record<string, [string, Tone]> = {
  given: ["given", "ok"],
  changed: ["changed while it serves", "warning"],
  default: ["default", "plain"],
};

function shown(one: ConfigKey): string {
  const { value } = one;
  if (value === null || value === "") return "–";
  if (Array.isArray(value)) return value.length ? value.join(", ") : "–";
  if (typeof value === "number" && one.key.endsWith("bytes")) return bytes(value);
  return String(value);
}

function ConfigCard() {
  const config = useResource<ConfigKey[]>("config", 15);
  const [search, setSearch] = useState("");
  const [all, setAll] = useState(false);
  return (
    <Card
      title="Configuration"
      actions={
        <>
          <input
            type="search"
            aria-label="Search the configuration"
            placeholder="Search"
            value={search}
            onInput={(event) => setSearch(event.currentTarget.value)}
          />
          <button type="button" aria-pressed={all} onClick={() => setAll(!all)}>
            {all ? "Without defaults" : "With defaults"}
          </button>
        </>
      }
    >
      <p class="muted small">
        What is given stands in the configuration file, the environment or an option of <code>caudal up</code>
        , and is changed there.
      </p>
      <Loaded of={config} lines={8}>
        {(keys) => {
          const wanted = search.trim().toLowerCase();
          const rows = keys.filter((one) =>
            wanted
              ? `${one.key} ${one.help}`.toLowerCase().includes(wanted)
              : all || one.source !== "default",
          );
          if (rows.length === 0) return <Empty title="No key is like that." />;
          return (
            <Table
              label="Configuration"
              rows={rows}
              id={(one) => one.key}
              columns={[
                {
                  head: "Key",
                  cell: (one) => (
                    <>
                      <code>{one.key}</code>
                      <span class="muted small block">{one.help}</span>
                    </>
                  ),
                },
                { head: "Value", cell: (one) => <code>{shown(one)}</code> },
                {
                  head: "From",
                  cell: (one) => {
                    const [label, tone] = SOURCES[one.source] ?? [one.source, "plain"];
                    return <Pill tone={tone}>{label}</Pill>;
                  },
                },
              ]}
            />
          );
        }}
      </Loaded>
    </Card>
  );
}

function detail(one: AuditRecord): string {
  return Object.entries(one.detail)
    .map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : String(value)}`)
    .join(", ");
}

function AuditCard() {
  const [cursors, setCursors] = useState<string[]>([]);
  const cursor = cursors.at(-1);
  const audit = useLoaded<Page<AuditRecord>>(
    `audit ${cursor ?? ""}`,
    () => read(`audit?limit=20${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`),
    cursor ? 0 : 5,
  );
  const next = audit.data?.next_cursor;
  return (
    <Card title="Who changed what">
      <Loaded of={audit} lines={8}>
        {({ items }) => (
          <Table
            label="Audit"
            rows={items.map((one, index) => ({ ...one, index }))}
            id={(one) => one.index}
            columns={[
              { head: "When", cell: (one) => moment(one.at_s) },
              { head: "Who", cell: (one) => `${one.principal} (${one.address})` },
              { head: "What", cell: (one) => one.action },
              { head: "Of", cell: (one) => one.target },
              { head: "Detail", cell: (one) => <span class="small">{detail(one) || "–"}</span> },
            ]}
          />
        )}
      </Loaded>
      <div class="form-end">
        <button
          type="button"
          disabled={cursors.length === 0}
          onClick={() => setCursors(cursors.slice(0, -1))}
        >
          Newer
        </button>
        <button type="button" disabled={!next} onClick={() => next && setCursors([...cursors, next])}>
          Older
        </button>
      </div>
    </Card>
  );
}

export function SettingsPage() {
  return (
    <>
      <Heading
        title="Settings"
        about="How the server is set, who may sign in, and what was changed by whom."
      />
      <ConfigCard />
      {may("admin") ? (
        <>
          <UsersCard />
          <TokensCard />
          <IssuerCard />
          <AuditCard />
        </>
      ) : (
        <p class="muted">Users, tokens and the audit are shown to admins.</p>
      )}
    </>
  );
}
