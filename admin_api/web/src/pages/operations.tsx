// Work that runs on after its request: how it goes, and a way to end it.
import { ask, serverNow } from "../api";
import { bytes, count, duration, moment } from "../format";
import { useResource } from "../resource";
import type { Operation, Page } from "../types";
import { Action, attempt } from "../ui/action";
import { Card, Empty, Loaded, Pill, type Tone } from "../ui/bits";
import { Table } from "../ui/table";

const TONES: Record<string, Tone> = {
  running: "warning",
  done: "ok",
  failed: "critical",
  cancelled: "plain",
};
const KINDS: Record<string, string> = {
  "journal.flush": "Flush",
  "cache.warm": "Warm",
  "cache.pin": "Pin",
  "cache.shelf.drain": "Drain a shelf",
  "objects.collect": "Collect",
  "objects.tier": "Move into tiers",
};

function words(found: Record<string, unknown>): string {
  return Object.entries(found)
    .filter(([, value]) => typeof value === "number" || typeof value === "string")
    .map(([name, value]) => {
      const label = name.replace(/_bytes$|^bytes$/, "").replaceAll("_", " ");
      const shown =
        typeof value === "number" ? (name.endsWith("bytes") ? bytes(value) : count(value)) : String(value);
      return `${label ? `${label} ` : ""}${shown}`;
    })
    .join(", ");
}

export function OperationsCard({ kinds, title }: { kinds?: string[]; title: string }) {
  const operations = useResource<Page<Operation>>("operations", 2);
  return (
    <Card title={title}>
      <Loaded of={operations} lines={2}>
        {({ items }) => {
          const rows = items.filter((one) => !kinds || kinds.includes(one.kind)).slice(0, 8);
          if (rows.length === 0) return <Empty title="Nothing ran since the admin service started." />;
          return (
            <Table
              label={title}
              rows={rows}
              id={(one) => one.id}
              columns={[
                { head: "What", cell: (one) => KINDS[one.kind] ?? one.kind },
                { head: "State", cell: (one) => <Pill tone={TONES[one.state] ?? "plain"}>{one.state}</Pill> },
                { head: "How far", cell: (one) => one.error ?? words(one.result ?? one.progress) },
                { head: "By", cell: (one) => one.started_by },
                { head: "Began", cell: (one) => moment(one.started_s) },
                {
                  head: "Took",
                  number: true,
                  cell: (one) => duration(Math.max(0, (one.ended_s ?? serverNow()) - one.started_s)),
                },
                {
                  head: "Change",
                  quiet: true,
                  cell: (one) =>
                    one.state === "running" &&
                    one.kind !== "journal.flush" && (
                      <Action
                        needs="operator"
                        onClick={() =>
                          void attempt("It ends at its next step", async () => {
                            await ask("POST", `operations/${one.id}/cancel`);
                            await operations.reload();
                          })
                        }
                      >
                        Cancel
                      </Action>
                    ),
                },
              ]}
            />
          );
        }}
      </Loaded>
    </Card>
  );
}
