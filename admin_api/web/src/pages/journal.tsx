// The journal: its mirrors, how full and how old it is, and what waits for the store.
import { useState } from "preact/hooks";
import { ask } from "../api";
import { bytes, count, duration, latency, perSecond, share } from "../format";
import { status } from "../live";
import { useSamples } from "../samples";
import type { Mirror, Status } from "../types";
import { Action, attempt, tell } from "../ui/action";
import { Bar, Card, Empty, Heading, Pill, Stat, Stats, type Tone } from "../ui/bits";
import { Chart } from "../ui/chart";
import { Field, FormDialog, text } from "../ui/form";
import { Table } from "../ui/table";
import { OperationsCard } from "./operations";

const TONES: Record<string, Tone> = { healthy: "ok", rebuilding: "warning", lost: "critical" };
const SERIES = ["journal_bytes", "journal_age_s", "dirty_bytes", "journal_commits"];

function Rebuilt({ one }: { one: Mirror }) {
  if (one.state !== "rebuilding") return <>{one.since_s === undefined ? "–" : duration(one.since_s)}</>;
  const all = (one.copied_bytes ?? 0) + (one.to_copy_bytes ?? 0);
  const part = all ? (one.copied_bytes ?? 0) / all : 0;
  return (
    <div class="used">
      <span>
        {bytes(one.copied_bytes)} of {bytes(all)}
      </span>
      <Bar share={part} label={`${share(part)} copied`} />
    </div>
  );
}

function MirrorsCard({ found }: { found: Status }) {
  const [adding, setAdding] = useState(false);
  const [removing, setRemoving] = useState<Mirror | null>(null);
  const { mirrors } = found.journal;
  return (
    <Card
      title="Mirrors"
      actions={
        <Action needs="admin" kind="primary" onClick={() => setAdding(true)}>
          Add a mirror
        </Action>
      }
    >
      <Table
        label="Mirrors"
        rows={mirrors}
        id={(one) => one.path}
        columns={[
          { head: "Directory", cell: (one) => <code>{one.path}</code> },
          {
            head: "State",
            cell: (one) => (
              <>
                <Pill tone={TONES[one.state] ?? "plain"}>{one.state}</Pill>{" "}
                {one.why && <span class="muted small">{one.why}</span>}
              </>
            ),
          },
          { head: "For", cell: (one) => <Rebuilt one={one} /> },
          {
            head: "Losses",
            cell: (one) => (
              <>
                {count(one.losses ?? 0)} {one.last_loss && <span class="muted small">{one.last_loss}</span>}
              </>
            ),
          },
          {
            head: "Change",
            quiet: true,
            cell: (one) => (
              <Action
                needs="admin"
                kind="danger"
                label={`Remove ${one.path}`}
                onClick={() => setRemoving(one)}
              >
                Remove
              </Action>
            ),
          },
        ]}
      />
      {mirrors.length === 1 && (
        <p class="muted small">
          With one mirror a lost disk loses what is not in the store yet. Add a second, on another disk.
        </p>
      )}
      {adding && (
        <FormDialog
          title="Add a mirror"
          submit="Add"
          onClose={() => setAdding(false)}
          onSubmit={async (form) => {
            await ask("POST", "journal/mirrors", { path: text(form, "path") });
            tell("The mirror is taken in, and rebuilt while clients are served");
          }}
        >
          <Field
            name="path"
            label="Directory on the server"
            required
            placeholder="/mnt/journal1/journal"
            hint="Empty, or a mirror that was lost; on a disk of its own."
          />
        </FormDialog>
      )}
      {removing && (
        <FormDialog
          title={`Remove ${removing.path}?`}
          submit="Remove"
          danger
          onClose={() => setRemoving(null)}
          onSubmit={async () => {
            await ask("POST", "journal/mirrors/remove", { path: removing.path });
            tell("The mirror is taken out; its files stay");
          }}
        >
          <p>New writes are not kept there any more, now and after restarts. Its files stay.</p>
        </FormDialog>
      )}
    </Card>
  );
}

export function JournalPage() {
  const found = status.value;
  const samples = useSamples(SERIES, 300);
  return (
    <>
      <Heading
        title="Journal"
        about="Every acknowledged change is in it, in every healthy mirror, before the client is answered."
        actions={
          <Action
            needs="operator"
            kind="primary"
            onClick={() =>
              void attempt("Everything acknowledged is on its way to the store", () =>
                ask("POST", "journal/flush"),
              )
            }
          >
            Flush now
          </Action>
        }
      />
      {found ? (
        <>
          <Card title="How it stands">
            <Stats>
              <Stat
                label="Oldest write not in the store"
                value={
                  found.journal.oldest_unflushed_s === null
                    ? "none"
                    : duration(found.journal.oldest_unflushed_s)
                }
              />
              <Stat
                label="Waits for the store"
                value={bytes(found.flush.dirty_bytes)}
                note={`in ${count(found.flush.dirty_inodes)} files`}
              />
              <Stat
                label="Fill"
                value={share(found.journal.bytes / Math.max(1, found.journal.limit_bytes))}
                note={`${bytes(found.journal.bytes)} of ${bytes(found.journal.limit_bytes)}`}
              />
              <Stat
                label="Commit"
                value={latency(found.journal.commit_us_p50)}
                note={`99 % under ${latency(found.journal.commit_us_p99)}`}
              />
              <Stat
                label="Last backup"
                value={found.backup.age_s === null ? "none yet" : `${duration(found.backup.age_s)} ago`}
                note="of metadata, in the store"
              />
            </Stats>
          </Card>
          <MirrorsCard found={found} />
        </>
      ) : (
        <Card title="Mirrors">
          <Empty
            title="Nothing is known yet"
            hint="The gateway has not answered since the admin service started."
          />
        </Card>
      )}
      <Card title="Last 5 minutes">
        <div class="charts">
          <Chart
            title="In the journal"
            found={samples}
            format={bytes}
            binary
            lines={[
              { name: "journal_bytes", label: "journal", color: 1 },
              { name: "dirty_bytes", label: "not in the store", color: 2 },
            ]}
          />
          <Chart
            title="Age of the oldest write"
            found={samples}
            format={duration}
            lines={[{ name: "journal_age_s", label: "age", color: 2 }]}
          />
          <Chart
            title="Group commits"
            found={samples}
            format={perSecond}
            lines={[{ name: "journal_commits", label: "commits", color: 3 }]}
          />
        </div>
      </Card>
      <OperationsCard title="Flushes" kinds={["journal.flush"]} />
    </>
  );
}
