// Of all blocks asked for, which part came from where.
import { share } from "../format";
import { mean } from "../samples";
import type { Samples } from "../types";
import { Card, Empty, Skeleton } from "../ui/bits";

export const HITS = ["l1_hits", "l1_misses", "l2_hits", "l2_misses"];

export function HitsCard({ found, span }: { found: Samples | undefined; span: string }) {
  const [l1 = 0, missed = 0, l2 = 0] = HITS.map((name) => mean(found, name) ?? 0);
  const all = l1 + missed;
  const parts = [
    { name: "L1, memory", part: l1, color: 1 },
    { name: "L2, disks", part: l2, color: 3 },
    { name: "Blob, the store", part: Math.max(0, missed - l2), color: 2 },
  ];
  return (
    <Card title="Where reads are answered">
      {found === undefined ? (
        <Skeleton />
      ) : all === 0 ? (
        <Empty
          title={`Nothing was read through the cache in the last ${span}.`}
          hint="Shares appear with the next reads. What was just written is read from memory, past the cache."
        />
      ) : (
        <>
          <div class="stack" aria-hidden="true">
            {parts
              .filter((one) => one.part > 0)
              .map((one) => (
                <div
                  key={one.name}
                  class={`series-${one.color}`}
                  style={{ width: `${(one.part / all) * 100}%` }}
                />
              ))}
          </div>
          <dl class="pairs">
            {parts.flatMap((one) => [
              <dt key={`${one.name}-t`}>
                <span class={`swatch series-${one.color}`} aria-hidden="true" />
                {one.name}
              </dt>,
              <dd key={`${one.name}-d`}>{share(one.part / all)}</dd>,
            ])}
          </dl>
          <p class="muted small">Of blocks of 256 KiB, in the last {span}.</p>
        </>
      )}
    </Card>
  );
}
