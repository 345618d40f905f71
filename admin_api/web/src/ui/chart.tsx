// A line chart over time by uPlot, in the page's colours, with its figures as text beside it.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock, moment } from "../format";
import { painted } from "../theme";
import type { Samples } from "../types";

export interface Line {
  /** Name of the series in the samples. */
  name: string;
  label: string;
  color: number;
}

type Columns = [number[], ...(number | null)[][]];

/** One column of times and one for each line; a row without values where nothing was sampled, so that lines break there. */
export function columns(found: Samples, names: string[]): Columns {
  const maps = names.map(
    (name) => new Map(found.series[name]?.points.map(([at, value]) => [at, value]) ?? []),
  );
  const times = [...new Set(maps.flatMap((one) => [...one.keys()]))].sort((a, b) => a - b);
  const rows: number[] = [];
  for (const at of times) {
    const before = rows.at(-1);
    if (before !== undefined && at - before > 3 * found.step_s) rows.push(before + found.step_s);
    rows.push(at);
  }
  return [rows, ...maps.map((one) => rows.map((at) => one.get(at) ?? null))];
}

/** The colour that a variable comes to in `box`, as canvases take it. */
function color(box: HTMLElement, name: string): string {
  box.style.color = `var(${name})`;
  const found = getComputedStyle(box).color;
  box.style.color = "";
  return found;
}

function faint(solid: string): string {
  return solid.replace("rgb(", "rgba(").replace(")", ", 0.12)");
}

function tick(at: number, step_s: number): string {
  return step_s >= 3600 ? moment(at).slice(5, 10) : clock(at).slice(0, step_s === 1 ? 8 : 5);
}

/** Places of values that have no neighbour. */
function alone(plot: uPlot, series: number, show: boolean): number[] | null {
  const column = plot.data[series];
  if (!show || !column) return null;
  const has = (at: number) => column[at] !== null && column[at] !== undefined;
  return Array.from(column.keys()).filter((at) => has(at) && !has(at - 1) && !has(at + 1));
}

/** Steps of the axis that make round numbers of bytes. */
const BINARY_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);

function options(
  box: HTMLElement,
  lines: Line[],
  format: (value: number) => string,
  binary: boolean,
  height: number,
  onMove: (row: number | null) => void,
): uPlot.Options {
  const axis: uPlot.Axis = {
    stroke: color(box, "--muted"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: color(box, "--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: 300,
    height,
    padding: [8, 6, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    scales: {
      x: { time: true },
      y: { range: (_plot, _low, high) => [0, Math.max(high ?? 0, binary ? 1024 : 1) * 1.08] },
    },
    axes: [
      {
        ...axis,
        size: 26,
        space: 70,
        values: (plot, splits) => {
          const [low = 0, high = 0] = [plot.scales.x?.min, plot.scales.x?.max];
          const span = (high ?? 0) - (low ?? 0);
          return splits.map((at) => tick(at, span > 172_800 ? 3600 : span > 600 ? 60 : 1));
        },
      },
      {
        ...axis,
        size: 74,
        space: 34,
        ...(binary ? { incrs: BINARY_STEPS } : {}),
        values: (_plot, splits) => splits.map(format),
      },
    ],
    series: [
      {},
      ...lines.map(
        (line): uPlot.Series => ({
          label: line.label,
          stroke: color(box, `--series-${line.color}`),
          width: 1.75,
          spanGaps: false,
          // A value between two gaps is a dot: no line goes through it.
          points: { show: true, size: 4, filter: alone },
          ...(lines.length === 1 ? { fill: faint(color(box, `--series-${line.color}`)) } : {}),
        }),
      ),
    ],
    hooks: { setCursor: [(plot) => onMove(plot.cursor.idx ?? null)] },
  };
}

export function Chart(props: {
  title: string;
  lines: Line[];
  found: Samples | undefined;
  format: (value: number) => string;
  binary?: boolean;
  height?: number;
}) {
  const { lines, found, format } = props;
  const height = props.height ?? 170;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [row, setRow] = useState<number | null>(null);
  const paint = painted.value;
  const names = lines.map((line) => line.name).join();
  useEffect(() => {
    const box = place.current;
    if (!box) return;
    const made = new uPlot(options(box, lines, format, props.binary ?? false, height, setRow), [[]], box);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: box.clientWidth, height }));
    watch.observe(box);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [names, paint, height]);

  const data = found ? columns(found, names.split(",")) : undefined;
  useEffect(() => {
    const made = plot.current;
    if (!made || !found || !data) return;
    made.batch(() => {
      made.setData(data as uPlot.AlignedData, false);
      made.setScale("x", { min: found.from_s, max: found.to_s });
    });
  }, [found, names, paint]);

  const shown = (index: number): string => {
    const column = data?.[index + 1];
    const value = row === null ? column?.findLast((one) => one !== null) : column?.[row];
    return value === null || value === undefined ? "–" : format(value);
  };
  const at = row === null ? undefined : data?.[0]?.[row];
  return (
    <figure class="chart" aria-busy={found === undefined}>
      <figcaption>
        <span class="chart-title">{props.title}</span>
        {at !== undefined && (
          <span class="chart-at">{found && found.step_s > 1 ? moment(at) : clock(at)}</span>
        )}
        <span class="legend">
          {lines.map((line, index) => (
            <span key={line.name} class="key">
              <span class={`swatch series-${line.color}`} aria-hidden="true" />
              {line.label} <b>{shown(index)}</b>
            </span>
          ))}
        </span>
      </figcaption>
      <div class="plot" ref={place} style={{ height: `${height}px` }} aria-hidden="true" />
    </figure>
  );
}
