// The object store: whether it does its work, and what it is asked for.
import { byteRate, bytes, count, duration, latency, perSecond } from "../format";
import { rates, status } from "../live";
import { useSamples } from "../samples";
import type { Status } from "../types";
import { Card, Empty, Heading, Stat, Stats, type Tone } from "../ui/bits";
import { Chart } from "../ui/chart";
import { PackCards } from "./packs";

const SERIES = [
  "store_received_bytes",
  "store_sent_bytes",
  "store_gets",
  "store_puts",
  "store_deletes",
  "store_errors",
  "store_retries",
];

function tone(state: string): Tone {
  return state === "ok" ? "ok" : state === "throttled" ? "warning" : "critical";
}

function Figures({ found }: { found: Status }) {
  const { objects, store, backup } = found;
  const live = rates.value;
  return (
    <>
      <Card title="State">
        <p class={`verdict ${tone(store.state)}`}>
          {store.state === "ok" ? "The store answers" : `The store is ${store.state}`}
        </p>
        <p class="muted">
          For {duration(store.since_s)}. {store.last_error && `Last error: ${store.last_error}`}
        </p>
        <Stats>
          <Stat
            label="Received"
            color={1}
            value={byteRate(live?.store_received)}
            note={`${bytes(objects.get_bytes)} since the start`}
          />
          <Stat
            label="Sent"
            color={2}
            value={byteRate(live?.store_sent)}
            note={`${bytes(objects.put_bytes)} since the start`}
          />
          <Stat
            label="Read of a blob"
            value={latency(objects.get_us_p50)}
            note={`99 % under ${latency(objects.get_us_p99)}`}
          />
          <Stat
            label="Write of a blob"
            value={latency(objects.put_us_p50)}
            note={`99 % under ${latency(objects.put_us_p99)}`}
          />
        </Stats>
      </Card>
      <div class="grid two">
        <Card title="Requests since the start">
          <dl class="pairs">
            {["gets", "puts", "heads", "lists", "deletes", "errors", "retries"].flatMap((name) => [
              <dt key={name}>{name}</dt>,
              <dd key={`${name}-d`}>{count(objects[name])}</dd>,
            ])}
          </dl>
        </Card>
        <Card title="What protects the data there">
          <dl class="pairs">
            <dt>Encrypted before it leaves</dt>
            <dd>{found.encryption.state}</dd>
            <dt>Metadata backups</dt>
            <dd>{backup.age_s === null ? "none yet" : `the last ${duration(backup.age_s)} ago`}</dd>
            <dt>Snapshots kept</dt>
            <dd>{count(backup.snapshots)}</dd>
            <dt>Backed up</dt>
            <dd>{bytes(backup.bytes)}</dd>
            <dt>Owner of the file system</dt>
            <dd>{found.owner.host}</dd>
            <dt>Lease</dt>
            <dd>{found.owner.lease}</dd>
          </dl>
          {backup.error && <p class="trouble">{backup.error}</p>}
        </Card>
      </div>
    </>
  );
}

export function ObjectsPage() {
  const samples = useSamples(SERIES, 3600);
  const found = status.value;
  return (
    <>
      <Heading title="Objects" about="Where the bytes live: immutable packs, and backups of the metadata." />
      {found ? (
        <Figures found={found} />
      ) : (
        <Card title="State">
          <Empty title="Nothing is known yet" />
        </Card>
      )}
      <PackCards />
      <Card title="Last hour">
        <div class="charts">
          <Chart
            title="Bytes"
            found={samples}
            format={byteRate}
            binary
            lines={[
              { name: "store_received_bytes", label: "received", color: 1 },
              { name: "store_sent_bytes", label: "sent", color: 2 },
            ]}
          />
          <Chart
            title="Requests"
            found={samples}
            format={perSecond}
            lines={[
              { name: "store_gets", label: "gets", color: 1 },
              { name: "store_puts", label: "puts", color: 2 },
              { name: "store_deletes", label: "deletes", color: 3 },
            ]}
          />
          <Chart
            title="Trouble"
            found={samples}
            format={perSecond}
            lines={[
              { name: "store_errors", label: "errors", color: 2 },
              { name: "store_retries", label: "retries", color: 1 },
            ]}
          />
        </div>
      </Card>
    </>
  );
}
