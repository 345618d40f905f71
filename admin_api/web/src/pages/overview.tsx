// The first page: is it healthy, how fast is it, is my data safe, what does it cost.
import { useState } from "preact/hooks";
import { byteRate, bytes, count, duration, latency, money, perSecond, share } from "../format";
import { gatewayDown, latencies, rates, status } from "../live";
import { type Resource, useResource } from "../resource";
import { RANGES, useSamples } from "../samples";
import type { Capacity, Health, Overview, Samples, Status } from "../types";
import { Bar, Card, Empty, Loaded, Skeleton, Stat, Stats, type Tone } from "../ui/bits";
import { Chart } from "../ui/chart";
import { Ranges } from "../ui/ranges";
import { HITS, HitsCard } from "./hits";

const SERIES = [
  "read_bytes",
  "written_bytes",
  "reads",
  "writes",
  "commits",
  "read_us_mean",
  "write_us_mean",
  "commit_us_mean",
];

function Verdict({ tone, children }: { tone: Tone; children: string }) {
  return <p class={`verdict ${tone}`}>{children}</p>;
}

function HealthCard({ health }: { health: Resource<Health> }) {
  return (
    <Card title="Health">
      <Loaded of={health} lines={3}>
        {({ state, findings }) => (
          <>
            <Verdict tone={state}>
              {state === "ok" ? "All is well" : state === "warning" ? "Needs a look" : "Needs action"}
            </Verdict>
            {findings.length === 0 ? (
              <p class="muted">
                The gateway serves, the store answers, every mirror of the journal is healthy.
              </p>
            ) : (
              <ul class="findings">
                {findings.slice(0, 4).map((one) => (
                  <li key={one.text} class={one.severity}>
                    {one.text}
                  </li>
                ))}
              </ul>
            )}
          </>
        )}
      </Loaded>
    </Card>
  );
}

function safety(found: Status): { tone: Tone; verdict: string } {
  const healthy = found.journal.mirrors.filter((one) => one.state === "healthy").length;
  const lag = found.journal.oldest_unflushed_s ?? 0;
  if (healthy === 0) return { tone: "critical", verdict: "No journal mirror" };
  if (healthy < found.journal.mirrors.length) {
    return { tone: "critical", verdict: `${healthy} of ${found.journal.mirrors.length} mirrors` };
  }
  if (lag > 300) return { tone: "warning", verdict: "Store lags behind" };
  return { tone: "ok", verdict: healthy === 1 ? "Safe, on one mirror" : `Safe, on ${healthy} mirrors` };
}

function SafetyCard({ found }: { found: Status | null }) {
  if (!found) return <Waiting title="Data safety" />;
  const { tone, verdict } = safety(found);
  const { journal, flush, backup } = found;
  const fill = journal.limit_bytes ? journal.bytes / journal.limit_bytes : 0;
  return (
    <Card title="Data safety">
      <Verdict tone={tone}>{verdict}</Verdict>
      <dl class="pairs">
        <dt>Flush lag</dt>
        <dd>{journal.oldest_unflushed_s === null ? "none" : duration(journal.oldest_unflushed_s)}</dd>
        <dt>Unflushed</dt>
        <dd>{bytes(flush.dirty_bytes)}</dd>
        <dt>Last backup</dt>
        <dd>{backup.age_s === null ? "none yet" : `${duration(backup.age_s)} ago`}</dd>
        <dt>Journal fill</dt>
        <dd>
          {share(fill)} of {bytes(journal.limit_bytes)}
        </dd>
      </dl>
      <Bar share={fill} label={`The journal is ${share(fill)} full`} tone={fill > 0.8 ? "critical" : "ok"} />
    </Card>
  );
}

function forecast(capacity: Capacity): string {
  const month = capacity.forecast.find((one) => one.days === 30);
  if (!month || capacity.bytes_a_day === null) return "A forecast needs a day of figures.";
  const sign = capacity.bytes_a_day < 0 ? "shrinks" : "grows";
  return `It ${sign} by ${bytes(Math.abs(capacity.bytes_a_day))} a day: ${bytes(month.used_bytes)} in 30 days.`;
}

function CapacityCard({ found, capacity }: { found: Status | null; capacity: Resource<Capacity> }) {
  if (!found) return <Waiting title="Capacity" />;
  const disk = Object.values(found.disks).reduce((least, one) =>
    one.free_bytes / one.total_bytes < least.free_bytes / least.total_bytes ? one : least,
  );
  const used = 1 - disk.free_bytes / disk.total_bytes;
  return (
    <Card title="Capacity">
      <Verdict tone="plain">{bytes(found.namespace.bytes)}</Verdict>
      <p class="muted">
        in {count(found.namespace.inodes)} files. {capacity.data && forecast(capacity.data)}
      </p>
      <dl class="pairs">
        <dt>Fullest disk</dt>
        <dd>{share(used)}</dd>
      </dl>
      <Bar
        share={used}
        label={`The fullest disk is ${share(used)} full`}
        tone={used > 0.95 ? "critical" : used > 0.9 ? "warning" : "ok"}
      />
    </Card>
  );
}

function CostCard({ overview }: { overview: Resource<Overview> }) {
  return (
    <Card title="Cost">
      <Loaded of={overview} lines={4}>
        {({ costs }) => {
          if (costs.currency === null) {
            return (
              <>
                <Verdict tone="plain">No prices yet</Verdict>
                <p class="muted">
                  Usage is metered already. Enter your prices on the page <a href="#/cost">Cost</a>, and it is
                  priced, also the past.
                </p>
              </>
            );
          }
          const spent = costs.budget_month ? (costs.month ?? 0) / costs.budget_month : null;
          return (
            <>
              <Verdict tone="plain">{money(costs.month, costs.currency)}</Verdict>
              <p class="muted">this month (UTC)</p>
              <dl class="pairs">
                <dt>Last hour</dt>
                <dd>{money(costs.hour, costs.currency)}</dd>
                <dt>Last day</dt>
                <dd>{money(costs.day, costs.currency)}</dd>
                <dt>Budget</dt>
                <dd>
                  {spent === null
                    ? "none set"
                    : `${share(spent)} of ${money(costs.budget_month, costs.currency)}`}
                </dd>
              </dl>
              {spent !== null && (
                <Bar
                  share={spent}
                  label={`${share(spent)} of the budget is spent`}
                  tone={spent > 1 ? "critical" : spent > 0.8 ? "warning" : "ok"}
                />
              )}
            </>
          );
        }}
      </Loaded>
    </Card>
  );
}

function Waiting({ title }: { title: string }) {
  return (
    <Card title={title}>
      {gatewayDown.value ? (
        <Empty
          title="Nothing is known yet"
          hint="The gateway has not answered since the admin service started."
        />
      ) : (
        <Skeleton />
      )}
    </Card>
  );
}

function SpeedCard({
  found,
  seconds,
  choose,
}: {
  found: Samples | undefined;
  seconds: number;
  choose: (s: number) => void;
}) {
  const live = rates.value;
  const wait = latencies.value;
  const io = status.value?.io;
  const note = (p99: number | undefined) => (p99 ? `99 % under ${latency(p99)}` : "none since the start");
  return (
    <Card
      title="Speed"
      class="wide"
      actions={
        <Ranges
          legend="Time that the charts show"
          options={RANGES}
          is={(one) => one.seconds === seconds}
          choose={(one) => choose(one.seconds)}
        />
      }
    >
      <Stats>
        <Stat
          label="Read"
          color={1}
          value={byteRate(live?.read_bytes)}
          note={`${perSecond(live?.reads)} reads`}
        />
        <Stat
          label="Written"
          color={2}
          value={byteRate(live?.written_bytes)}
          note={`${perSecond(live?.writes)} writes`}
        />
        <Stat label="Read latency" value={latency(wait.read)} note={note(io?.read_us_p99)} />
        <Stat label="Write latency" value={latency(wait.write)} note={note(io?.write_us_p99)} />
        <Stat label="Commit latency" value={latency(wait.commit)} note={note(io?.commit_us_p99)} />
      </Stats>
      <div class="charts">
        <Chart
          title="Throughput"
          height={124}
          found={found}
          format={byteRate}
          binary
          lines={[
            { name: "read_bytes", label: "read", color: 1 },
            { name: "written_bytes", label: "written", color: 2 },
          ]}
        />
        <Chart
          title="Requests"
          height={124}
          found={found}
          format={perSecond}
          lines={[
            { name: "reads", label: "reads", color: 1 },
            { name: "writes", label: "writes", color: 2 },
            { name: "commits", label: "commits", color: 3 },
          ]}
        />
        <Chart
          title="Latency, mean"
          height={124}
          found={found}
          format={latency}
          lines={[
            { name: "read_us_mean", label: "read", color: 1 },
            { name: "write_us_mean", label: "write", color: 2 },
            { name: "commit_us_mean", label: "commit", color: 3 },
          ]}
        />
      </div>
    </Card>
  );
}

function ExportsCard({ found }: { found: Status | null }) {
  if (!found) return <Waiting title="Exports" />;
  return (
    <Card title="Exports">
      <ul class="rows">
        {found.exports.map((one) => (
          <li key={one.name}>
            <span>{one.name}</span>
            <span class="muted">
              {bytes(one.read_bytes)} read, {bytes(one.written_bytes)} written since the start
            </span>
          </li>
        ))}
      </ul>
      <p class="muted small">
        {found.quotas.trees === 0
          ? "No quotas are set."
          : `${count(found.quotas.trees)} quotas: ${found.quotas.nearly_full} nearly used up, ${found.quotas.full} used up.`}
      </p>
    </Card>
  );
}

export function OverviewPage() {
  const [seconds, setSeconds] = useState(300);
  const found = useSamples(SERIES, seconds);
  const hits = useSamples(HITS, 300);
  const health = useResource<Health>("health", 3);
  const overview = useResource<Overview>("overview", 15);
  const capacity = useResource<Capacity>("activity/capacity", 600);
  const known = status.value;
  return (
    <>
      <h1 class="hidden">Overview</h1>
      <div class="grid four">
        <HealthCard health={health} />
        <SafetyCard found={known} />
        <CapacityCard found={known} capacity={capacity} />
        <CostCard overview={overview} />
      </div>
      <SpeedCard found={found} seconds={seconds} choose={setSeconds} />
      <div class="grid two">
        <HitsCard found={hits} span="5 minutes" />
        <ExportsCard found={known} />
      </div>
    </>
  );
}
