// What clients read by export: which part came from memory, disks and the store, over a time.
import { useState } from "preact/hooks";
import { read, serverNow } from "../api";
import { count, share } from "../format";
import { useLoaded } from "../resource";
import { RANGES, type Range } from "../samples";
import type { HitRates, Hits, Samples } from "../types";
import { Bar, Card, Empty, Loaded } from "../ui/bits";
import { Chart } from "../ui/chart";
import { Ranges } from "../ui/ranges";
import { type Column, Table } from "../ui/table";

// Minutes are the finest that is metered.
const SPANS = RANGES.filter((one) => one.seconds >= 3600);

type Place = "l1" | "l2" | "store";
const PLACES: { name: Place; label: string; color: number }[] = [
  { name: "l1", label: "Memory", color: 1 },
  { name: "l2", label: "Disk", color: 3 },
  { name: "store", label: "Store", color: 2 },
];

interface Row extends Hits {
  export: string;
}

const COLUMNS: Column<Row>[] = [
  { head: "Export", cell: (one) => <b>{one.export}</b> },
  { head: "Reads", number: true, cell: (one) => count(one.reads) },
  ...PLACES.map(
    ({ name, label }): Column<Row> => ({
      head: label,
      number: true,
      cell: (one) => (
        <>
          {share(one[name] / one.reads)} <span class="muted">({count(one[name])})</span>
        </>
      ),
    }),
  ),
  {
    head: "Without the store",
    cell: (one) => (
      <>
        <Bar share={one.hit_rate ?? 0} label={`${share(one.hit_rate)} did not need the store`} />
        <span class="small">{share(one.hit_rate)}</span>
      </>
    ),
  },
];

function rowsOf({ exports, total }: HitRates): Row[] {
  const rows = Object.entries(exports)
    .map(([name, hits]) => ({ export: name, ...hits }))
    .filter((one) => one.reads > 0);
  return rows.length > 1 ? [...rows, { export: "All together", ...total }] : rows;
}

/** Shares as a chart takes them. */
function shares(found: HitRates): Samples {
  const series = Object.fromEntries(
    PLACES.map(({ name }) => [
      name,
      {
        unit: "share",
        points: found.points.map((point): [number, number, number] => {
          const part = point[name] / point.reads;
          return [point.at_s, part, part];
        }),
      },
    ]),
  );
  return { step_s: found.step_s, from_s: found.from_s, to_s: found.to_s, series };
}

function useHitRates(span: Range, name: string) {
  return useLoaded<HitRates>(
    `${span.seconds} ${name}`,
    () => {
      const of = name && `&export=${encodeURIComponent(name)}`;
      return read(`cache/hit-rates?from=${serverNow() - span.seconds}${of}`);
    },
    // A long time has many steps, and moves slowly.
    span.seconds > 3600 ? 30 : 3,
  );
}

function OverTime({ span, names }: { span: Range; names: string[] }) {
  const [name, setName] = useState("");
  const found = useHitRates(span, name);
  return (
    <>
      <select
        class="chart-of"
        aria-label="Export that the chart shows"
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      >
        <option value="">all exports</option>
        {[...new Set(name ? [...names, name] : names)].map((one) => (
          <option key={one} value={one}>
            {one}
          </option>
        ))}
      </select>
      <Chart
        title={`Shares of reads, last ${span.label}`}
        found={found.data && shares(found.data)}
        format={share}
        lines={PLACES}
      />
    </>
  );
}

export function HitRatesCard() {
  const [span, setSpan] = useState<Range>(SPANS[0] as Range);
  const found = useHitRates(span, "");
  return (
    <Card
      title="Reads by export"
      actions={
        <Ranges
          legend="Time of the reads by export"
          options={SPANS}
          is={(one) => one.seconds === span.seconds}
          choose={setSpan}
        />
      }
    >
      <Loaded of={found} lines={6}>
        {(rates) => {
          const rows = rowsOf(rates);
          if (rows.length === 0) return <Empty title={`No export was read in the last ${span.label}.`} />;
          return (
            <>
              <Table label="Reads by export" rows={rows} columns={COLUMNS} id={(one) => one.export} />
              <p class="muted small">
                A read of a client counts once, where the farthest of what it needed was: in memory, on a disk
                of this server (L2, or the journal for what is not in the store yet), or in the store.
              </p>
              <OverTime span={span} names={Object.keys(rates.exports)} />
            </>
          );
        }}
      </Loaded>
    </Card>
  );
}
