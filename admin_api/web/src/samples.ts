// Figures over time, read in full once and then only what is new.
import { useEffect, useState } from "preact/hooks";
import { read, serverNow } from "./api";
import type { Samples } from "./types";

export interface Range {
  label: string;
  seconds: number;
}

export const RANGES: Range[] = [
  { label: "5 min", seconds: 300 },
  { label: "1 h", seconds: 3600 },
  { label: "24 h", seconds: 86_400 },
  { label: "7 d", seconds: 7 * 86_400 },
  { label: "30 d", seconds: 30 * 86_400 },
];

function merged(before: Samples, more: Samples, seconds: number): Samples {
  const from_s = more.to_s - seconds;
  const series: Samples["series"] = {};
  for (const [name, fresh] of Object.entries(more.series)) {
    const first = fresh.points[0]?.[0] ?? Number.POSITIVE_INFINITY;
    const kept = (before.series[name]?.points ?? []).filter(([at]) => at < first && at >= from_s);
    series[name] = { unit: fresh.unit, points: [...kept, ...fresh.points] };
  }
  return { step_s: more.step_s, from_s, to_s: more.to_s, series };
}

/** The series of the last so many seconds. undefined until they are there; kept as they are while nobody answers. */
export function useSamples(names: string[], seconds: number): Samples | undefined {
  const [found, setFound] = useState<Samples | undefined>(undefined);
  const wanted = names.join(",");
  useEffect(() => {
    let current: Samples | undefined;
    let over = false;
    let timer: number | undefined;

    async function look(): Promise<void> {
      if (!document.hidden) {
        try {
          // The latest point may still grow: it is read again.
          const step = current?.step_s ?? 1;
          const from = current ? `&from=${current.to_s - 3 * step}&step=${step}` : "";
          const span = current ? from : `&from=${serverNow() - seconds}`;
          const more = await read<Samples>(`samples?series=${wanted}${span}`);
          if (over) return;
          current = current ? merged(current, more, seconds) : { ...more, from_s: more.to_s - seconds };
          setFound(current);
        } catch {
          // What was known stays on the page, which says that nobody answers.
        }
      }
      if (!over) timer = window.setTimeout(look, current && current.step_s > 1 ? 30_000 : 2000);
    }

    void look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [wanted, seconds]);
  return found;
}

/** Mean over what is there; null where nothing is. */
export function mean(found: Samples | undefined, name: string): number | null {
  const points = found?.series[name]?.points ?? [];
  if (points.length === 0) return null;
  return points.reduce((sum, [, value]) => sum + value, 0) / points.length;
}

export function latest(found: Samples | undefined, name: string): number | null {
  return found?.series[name]?.points.at(-1)?.[1] ?? null;
}
