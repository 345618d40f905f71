// Limits: caps on what clients read and write.
import { useState } from "preact/hooks";
import { ask } from "../api";
import { byteRate, count, duration, exactBytes, parseBytes, parseSeconds, perSecond } from "../format";
import { useResource } from "../resource";
import type { Export, Page, RateLimit } from "../types";
import { Action, attempt } from "../ui/action";
import { Card, Empty, Heading, Loaded, Pill } from "../ui/bits";
import { Choice, Field, FormDialog, FormError, text } from "../ui/form";
import { type Column, Table } from "../ui/table";

function rateOf(form: FormData, name: string): number {
  const given = text(form, name);
  if (!given) return 0;
  const found = parseBytes(given);
  if (found === null) throw new FormError(`${given} is no amount of bytes`, "such as 100 MiB");
  return found;
}

function LimitDialog(props: {
  before: RateLimit | null;
  exports: Export[];
  onClose: () => void;
  onDone: () => Promise<void>;
}) {
  const { before } = props;
  const first = before?.client ? "client" : before?.export ? `export:${before.export}` : "server";
  const [of, setOf] = useState(first);
  async function send(form: FormData): Promise<void> {
    const burst_s = parseSeconds(text(form, "burst") || "1s");
    if (burst_s === null) throw new FormError("the burst is no time", "such as 10s");
    const ops_s = Number(text(form, "ops") || 0);
    if (Number.isNaN(ops_s)) throw new FormError("requests a second are a number");
    const body = {
      ...(of.startsWith("export:") ? { export: of.slice(7) } : {}),
      ...(of === "client" ? { client: text(form, "client") } : {}),
      read_bytes_s: rateOf(form, "read"),
      write_bytes_s: rateOf(form, "write"),
      ops_s,
      burst_s,
    };
    const name = before?.name ?? text(form, "name");
    await ask("PUT", `limits/${name}`, body, { etag: before ? `"${before.version}"` : null });
    await props.onDone();
  }
  return (
    <FormDialog
      title={before ? `Change ${before.name}` : "Add a limit"}
      submit={before ? "Save" : "Add"}
      onClose={props.onClose}
      onSubmit={send}
    >
      {before === null && <Field name="name" label="Name" required placeholder="backup" />}
      <Choice
        name="of"
        label="Of whom"
        value={of}
        onChoose={setOf}
        options={[
          ["server", "the whole server"],
          ["client", "each client of a network"],
          ...props.exports.map((one): [string, string] => [`export:${one.name}`, `the export ${one.name}`]),
        ]}
      />
      {of === "client" && (
        <Field
          name="client"
          label="Clients"
          required
          value={before?.client ?? ""}
          placeholder="10.1.0.0/16"
          hint="An address or network; each address has the limit for itself."
        />
      )}
      <div class="pair">
        <Field
          name="read"
          label="Read a second"
          value={before?.read_bytes_s ? exactBytes(before.read_bytes_s) : ""}
          placeholder="200 MiB"
          hint="Empty: any."
        />
        <Field
          name="write"
          label="Written a second"
          value={before?.write_bytes_s ? exactBytes(before.write_bytes_s) : ""}
          placeholder="100 MiB"
          hint="Empty: any."
        />
        <Field
          name="ops"
          label="Requests a second"
          type="number"
          value={before?.ops_s ? String(before.ops_s) : ""}
          hint="Reads and writes. Empty: any."
        />
        <Field
          name="burst"
          label="Burst"
          value={before ? `${before.burst_s}s` : "1s"}
          hint="For how long unused credit may be used at once."
        />
      </div>
    </FormDialog>
  );
}

function whom(one: RateLimit): string {
  if (one.export) return `export ${one.export}`;
  return one.client ? `each of ${one.client}` : "the whole server";
}

export function LimitsPage() {
  const limits = useResource<Page<RateLimit>>("limits", 3);
  const exports = useResource<Page<Export>>("exports");
  const [editing, setEditing] = useState<RateLimit | "new" | null>(null);
  const columns: Column<RateLimit>[] = [
    {
      head: "Name",
      cell: (one) => (
        <>
          <b>{one.name}</b> {one.trial && <Pill tone="warning">trial</Pill>}
          {!one.active && <Pill tone="plain">not in force</Pill>}
        </>
      ),
    },
    { head: "Of whom", cell: whom },
    { head: "Read", number: true, cell: (one) => (one.read_bytes_s ? byteRate(one.read_bytes_s) : "any") },
    {
      head: "Written",
      number: true,
      cell: (one) => (one.write_bytes_s ? byteRate(one.write_bytes_s) : "any"),
    },
    { head: "Requests", number: true, cell: (one) => (one.ops_s ? perSecond(one.ops_s) : "any") },
    {
      head: "Passed / delayed / refused",
      number: true,
      cell: (one) => `${count(one.passed)} / ${count(one.delayed)} / ${count(one.refused)}`,
    },
    { head: "Waited", number: true, cell: (one) => duration(one.delayed_s) },
    {
      head: "Change",
      quiet: true,
      cell: (one) =>
        !one.trial && (
          <div class="actions">
            <Action needs="admin" label={`Change ${one.name}`} onClick={() => setEditing(one)}>
              Change
            </Action>
            <Action
              needs="admin"
              kind="danger"
              label={`Remove ${one.name}`}
              onClick={() =>
                void attempt(`${one.name} is removed`, async () => {
                  await ask("DELETE", `limits/${one.name}`, undefined, { etag: `"${one.version}"` });
                  await limits.reload();
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
    <>
      <Heading
        title="Limits"
        about="Caps on what clients read and write. A request beyond the rate waits, or is told to come again."
        actions={
          <Action needs="admin" kind="primary" onClick={() => setEditing("new")}>
            Add a limit
          </Action>
        }
      />
      <Card title="All limits">
        <Loaded of={limits}>
          {({ items }) =>
            items.length === 0 ? (
              <Empty
                title="Nothing is limited."
                hint="Add a limit where one client or export must not take all the speed."
              />
            ) : (
              <Table label="Limits" rows={items} columns={columns} id={(one) => one.name} />
            )
          }
        </Loaded>
      </Card>
      {editing !== null && (
        <LimitDialog
          before={editing === "new" ? null : editing}
          exports={exports.data?.items ?? []}
          onClose={() => setEditing(null)}
          onDone={limits.reload}
        />
      )}
    </>
  );
}
