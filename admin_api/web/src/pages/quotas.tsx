// Quotas: limits on directories, what is in them, and what is in the directories around them.
import { useState } from "preact/hooks";
import { ask, type Extras, may, readAll } from "../api";
import { bytes, count, duration, exactBytes, moment, parseBytes, parseSeconds, share } from "../format";
import { type Resource, useLoaded, useResource } from "../resource";
import { rest } from "../route";
import type { Export, Owned, Page, Quota } from "../types";
import { Action, attempt } from "../ui/action";
import { Bar, Card, Empty, Heading, Loaded, Pill, type Tone } from "../ui/bits";
import { Field, FormDialog, FormError, text } from "../ui/form";
import { type Column, Table } from "../ui/table";
import { TreeCard } from "./tree";

function bytesOf(form: FormData, name: string): number | null {
  const given = text(form, name);
  if (!given) return null;
  const found = parseBytes(given);
  if (found === null) throw new FormError(`${given} is no amount of bytes`, "such as 500 GiB or 1.5TB");
  return found;
}

function countOf(form: FormData, name: string): number | null {
  const given = text(form, name);
  if (!given) return null;
  if (!/^\d+$/.test(given)) throw new FormError(`${given} is no number of files`, "such as 1000000");
  return Number(given);
}

function QuotaDialog(props: {
  path: string;
  before: Quota | null;
  onClose: () => void;
  onDone: () => Promise<void>;
}) {
  const { before } = props;
  async function send(form: FormData, once: Extras): Promise<void> {
    const grace_s = parseSeconds(text(form, "grace") || "7d");
    if (grace_s === null) throw new FormError("the grace time is no time", "such as 7d or 12h");
    const body = {
      hard_bytes: bytesOf(form, "hard_bytes"),
      soft_bytes: bytesOf(form, "soft_bytes"),
      hard_inodes: countOf(form, "hard_inodes"),
      soft_inodes: countOf(form, "soft_inodes"),
      grace_s,
    };
    if (before) {
      // The ETag is of this moment; who changed it meanwhile is overruled by somebody who sees the figures.
      const { etag } = await ask<Quota>("GET", `quotas/${before.id}`);
      await ask("PATCH", `quotas/${before.id}`, body, { etag });
    } else {
      await ask("POST", "quotas", { path: text(form, "path"), ...body }, once);
    }
    await props.onDone();
  }
  const sized = (value: number | null | undefined) => exactBytes(value ?? null);
  const counted = (value: number | null | undefined) => (value ? String(value) : "");
  return (
    <FormDialog
      title={before ? `Change the quota of ${before.path}` : "Set a quota"}
      submit="Save"
      onClose={props.onClose}
      onSubmit={send}
    >
      {before === null && (
        <Field
          name="path"
          label="Directory"
          required
          value={props.path}
          placeholder="/data/projects"
          hint="As clients see it, with the export's path."
        />
      )}
      <div class="pair">
        <Field
          name="hard_bytes"
          label="Bytes, at most"
          value={sized(before?.hard_bytes)}
          placeholder="1 TiB"
          hint="Empty: any."
        />
        <Field
          name="hard_inodes"
          label="Files, at most"
          value={counted(before?.hard_inodes)}
          placeholder="1000000"
          hint="Files and directories."
        />
        <Field
          name="soft_bytes"
          label="Bytes, soft"
          value={sized(before?.soft_bytes)}
          placeholder="900 GiB"
        />
        <Field name="soft_inodes" label="Files, soft" value={counted(before?.soft_inodes)} />
      </div>
      <Field
        name="grace"
        label="Grace time"
        value={before ? duration(before.grace_s).replace(" ", "") : "7d"}
        hint="For how long a soft limit may be exceeded."
      />
    </FormDialog>
  );
}

export function fill(used: number, hard: number | null): Tone {
  if (!hard) return "plain";
  return used >= hard ? "critical" : used > 0.9 * hard ? "warning" : "ok";
}

function Used(props: {
  used: number;
  hard: number | null;
  soft: number | null;
  show: (n: number) => string;
}) {
  const { used, hard, soft, show } = props;
  const most = hard ?? soft;
  if (most === null) return <>{show(used)}</>;
  const part = most === 0 ? 1 : used / most;
  return (
    <div class="used">
      <span>
        {show(used)} <span class="muted">of {show(most)}</span>
      </span>
      <Bar share={part} tone={fill(used, most)} label={`${share(part)} used`} />
    </div>
  );
}

function Standing({ one }: { one: Quota }) {
  const full =
    (one.hard_bytes !== null && one.used_bytes >= one.hard_bytes) ||
    (one.hard_inodes !== null && one.used_inodes >= one.hard_inodes);
  if (full) return <Pill tone="critical">used up</Pill>;
  const ends = one.bytes_grace_ends_s ?? one.inodes_grace_ends_s;
  if (ends !== null) return <Pill tone="warning">above soft until {moment(ends)}</Pill>;
  const near =
    fill(one.used_bytes, one.hard_bytes) === "warning" ||
    fill(one.used_inodes, one.hard_inodes) === "warning";
  return near ? <Pill tone="warning">nearly used up</Pill> : <Pill tone="ok">ok</Pill>;
}

function OwnersCard({ kind, title }: { kind: "users" | "groups"; title: string }) {
  const owned = useLoaded<Owned[]>(kind, () => readAll<Owned>(`usage/${kind}`), 15);
  return (
    <Card title={title}>
      <Loaded of={owned}>
        {(items) =>
          items.length === 0 ? (
            <Empty title="Nothing is owned yet." />
          ) : (
            <Table
              label={title}
              rows={[...items].sort((a, b) => b.allocated_bytes - a.allocated_bytes).slice(0, 50)}
              id={(one) => one.id}
              columns={[
                { head: kind === "users" ? "User id" : "Group id", cell: (one) => one.id },
                { head: "Files", number: true, cell: (one) => count(one.inodes) },
                { head: "Bytes", number: true, cell: (one) => bytes(one.allocated_bytes) },
              ]}
            />
          )
        }
      </Loaded>
    </Card>
  );
}

function QuotaTable({ quotas, edit }: { quotas: Resource<Quota[]>; edit: (one: Quota) => void }) {
  const columns: Column<Quota>[] = [
    { head: "Directory", cell: (one) => <code>{one.path ?? "removed a moment ago"}</code> },
    {
      head: "Bytes",
      cell: (one) => <Used used={one.used_bytes} hard={one.hard_bytes} soft={one.soft_bytes} show={bytes} />,
    },
    {
      head: "Files",
      cell: (one) => (
        <Used used={one.used_inodes} hard={one.hard_inodes} soft={one.soft_inodes} show={count} />
      ),
    },
    { head: "State", cell: (one) => <Standing one={one} /> },
    {
      head: "Change",
      quiet: true,
      cell: (one) => (
        <div class="actions">
          <Action needs="operator" label={`Change ${one.path}`} onClick={() => edit(one)}>
            Change
          </Action>
          <Action
            needs="operator"
            kind="danger"
            label={`Remove the quota of ${one.path}`}
            onClick={() =>
              void attempt(`${one.path} has no quota any more`, async () => {
                await ask("DELETE", `quotas/${one.id}`);
                await quotas.reload();
              })
            }
          >
            Remove
          </Action>
        </div>
      ),
    },
  ];
  return (
    <Loaded of={quotas}>
      {(items) =>
        items.length === 0 ? (
          <Empty
            title="No directory is limited."
            hint={
              may("operator") ? "Set a quota here, or on a directory below." : "An operator can set quotas."
            }
          />
        ) : (
          <Table label="Quotas" rows={items} columns={columns} id={(one) => one.id} />
        )
      }
    </Loaded>
  );
}

export function QuotasPage() {
  const quotas = useLoaded<Quota[]>("quotas", () => readAll<Quota>("quotas"), 2);
  const exports = useResource<Page<Export>>("exports");
  const [editing, setEditing] = useState<{ path: string; before: Quota | null } | null>(null);
  const top = exports.data?.items[0]?.pseudo;
  const shown = rest.value ? `/${rest.value}` : top;
  return (
    <>
      <Heading
        title="Quotas"
        about="Limits on directories hold for every user, to the byte. Sizes are sums of whole trees, without waiting."
        actions={
          <Action needs="operator" kind="primary" onClick={() => setEditing({ path: "", before: null })}>
            Set a quota
          </Action>
        }
      />
      <Card title="Directories with limits">
        <QuotaTable quotas={quotas} edit={(before) => setEditing({ path: "", before })} />
      </Card>
      {shown && (
        <TreeCard
          path={shown}
          tops={exports.data?.items.map((one) => one.pseudo) ?? []}
          quotas={quotas.data ?? []}
          limit={(path, before) => setEditing({ path, before })}
        />
      )}
      <div class="grid two">
        <OwnersCard kind="users" title="By user" />
        <OwnersCard kind="groups" title="By group" />
      </div>
      {editing && (
        <QuotaDialog
          path={editing.path}
          before={editing.before}
          onClose={() => setEditing(null)}
          onDone={quotas.reload}
        />
      )}
    </>
  );
}
