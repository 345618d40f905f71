// The packs in the store: what lives in them, collecting what does not, and access tiers for what nobody reads.
import { useState } from "preact/hooks";
import { ask, read } from "../api";
import { bytes, count, exactBytes, money, parseBytes, share } from "../format";
import { type Resource, useLoaded, useResource } from "../resource";
import { Action, attempt, tell } from "../ui/action";
import { Bar, Card, Empty, Loaded, Pill } from "../ui/bits";
import { Check, Field, FormDialog, FormError, text } from "../ui/form";
import { Table } from "../ui/table";
import { OperationsCard } from "./operations";

interface Sums {
  packs: number;
  bytes: number;
}

interface ObjectsView {
  packs:
    | (Sums & { live_bytes: number; dead_packs: number; dead_bytes: number; tiers: Record<string, Sums> })
    | null;
}

interface TieringPolicy {
  enabled: boolean;
  cool_after_days: number | null;
  cold_after_days: number | null;
  min_pack_bytes: number;
  available: boolean;
}

type TierEstimate = Sums & { move_cost: number | null; month_cost: number | null; read_cost: number | null };

interface TieringEstimate {
  currency: string | null;
  cool: TierEstimate;
  cold: TierEstimate;
}

interface Known {
  policy: TieringPolicy;
  etag: string | null;
  /** null: the store has no tiers. */
  estimate: TieringEstimate | null;
}

function PacksCard() {
  const found = useResource<ObjectsView>("objects", 10);
  return (
    <Card
      title="Packs"
      actions={
        <Action
          needs="operator"
          onClick={() =>
            void attempt("Collecting", async () => {
              await ask("POST", "objects/collections", undefined, { key: crypto.randomUUID() });
            })
          }
        >
          Collect now
        </Action>
      }
    >
      <Loaded of={found}>
        {({ packs }) => {
          if (!packs) return <Empty title="Nothing is known while the gateway is away." />;
          const live = packs.bytes ? packs.live_bytes / packs.bytes : 1;
          return (
            <>
              <p>
                {bytes(packs.live_bytes)} <span class="muted">of {bytes(packs.bytes)} are in use</span>
              </p>
              <Bar share={live} label={`${share(live)} of the packs' bytes are in use`} />
              <dl class="pairs">
                <dt>Packs</dt>
                <dd>{count(packs.packs)}</dd>
                <dt>Without anything in use</dt>
                <dd>
                  {count(packs.dead_packs)}, {bytes(packs.dead_bytes)}
                </dd>
                {Object.entries(packs.tiers).flatMap(([tier, sums]) => [
                  <dt key={tier}>In the tier {tier}</dt>,
                  <dd key={`${tier}-d`}>
                    {count(sums.packs)}, {bytes(sums.bytes)}
                  </dd>,
                ])}
              </dl>
              <p class="muted small">
                Collected by itself, when the grace time and the backups that need them are over.
              </p>
            </>
          );
        }}
      </Loaded>
    </Card>
  );
}

function Due({ estimate }: { estimate: TieringEstimate }) {
  const rows = (["cool", "cold"] as const).map((tier) => ({ tier, ...estimate[tier] }));
  const cost = (value: number | null) => (value === null ? "no price set" : money(value, estimate.currency));
  return (
    <Table
      label="What a run would move now"
      rows={rows}
      id={(one) => one.tier}
      columns={[
        { head: "Into", cell: (one) => one.tier },
        { head: "Packs", number: true, cell: (one) => count(one.packs) },
        { head: "Bytes", number: true, cell: (one) => bytes(one.bytes) },
        { head: "Moving", number: true, cell: (one) => cost(one.move_cost) },
        { head: "A month there", number: true, cell: (one) => cost(one.month_cost) },
        { head: "Reading it all once", number: true, cell: (one) => cost(one.read_cost) },
      ]}
    />
  );
}

function days(form: FormData, name: string): number | null {
  const given = text(form, name);
  if (given === "") return null;
  const found = Number(given);
  if (!Number.isInteger(found) || found < 1)
    throw new FormError("days are whole numbers from 1", "such as 30");
  return found;
}

function PolicyDialog({
  known,
  close,
  done,
}: {
  known: Known;
  close: () => void;
  done: () => Promise<void>;
}) {
  const { policy, etag } = known;
  return (
    <FormDialog
      title="Access tiers"
      submit="Set"
      onClose={close}
      onSubmit={async (form) => {
        const size = parseBytes(text(form, "size"));
        if (size === null) throw new FormError("that is no size", "such as 1 MiB");
        const wanted = {
          enabled: form.get("enabled") !== null,
          cool_after_days: days(form, "cool"),
          cold_after_days: days(form, "cold"),
          min_pack_bytes: size,
        };
        await ask("PUT", "objects/tiering", wanted, { etag });
        tell(wanted.enabled ? "Packs are moved once a day" : "Packs stay where they are");
        await done();
      }}
    >
      <Check name="enabled" label="Move packs once a day" on={policy.enabled} />
      <Field
        name="cool"
        label="Days without a read until Cool"
        value={String(policy.cool_after_days ?? "")}
        hint="Empty: never."
      />
      <Field
        name="cold"
        label="Days without a read until Cold"
        value={String(policy.cold_after_days ?? "")}
      />
      <Field name="size" label="Smallest pack" required value={exactBytes(policy.min_pack_bytes)} />
    </FormDialog>
  );
}

function TieringCard() {
  const [changing, setChanging] = useState(false);
  const known: Resource<Known> = useLoaded(
    "tiering",
    async () => {
      const { data, etag } = await ask<TieringPolicy>("GET", "objects/tiering");
      const estimate = data.available ? await read<TieringEstimate>("objects/tiering/estimate") : null;
      return { policy: data, etag, estimate };
    },
    30,
  );
  return (
    <Card title="Access tiers">
      <Loaded of={known}>
        {(found) =>
          found.estimate ? (
            <>
              <p>
                <Pill tone={found.policy.enabled ? "ok" : "plain"}>
                  {found.policy.enabled ? "on" : "off"}
                </Pill>{" "}
                <span class="muted">
                  What the store was not read for so long goes where it costs less to keep, and more to read.
                </span>
              </p>
              <Due estimate={found.estimate} />
              <p>
                <Action needs="admin" onClick={() => setChanging(true)}>
                  Change
                </Action>{" "}
                <Action
                  needs="admin"
                  onClick={() =>
                    void attempt("Packs are being moved", async () => {
                      await ask("POST", "objects/tiering/runs", {}, { key: crypto.randomUUID() });
                    })
                  }
                >
                  Move now
                </Action>
              </p>
              {changing && (
                <PolicyDialog known={found} close={() => setChanging(false)} done={known.reload} />
              )}
            </>
          ) : (
            <Empty title="This store has no tiers." hint="Those of Azure Blob Storage do." />
          )
        }
      </Loaded>
    </Card>
  );
}

export function PackCards() {
  return (
    <>
      <div class="grid two">
        <PacksCard />
        <TieringCard />
      </div>
      <OperationsCard title="Collecting, moving" kinds={["objects.collect", "objects.tier"]} />
    </>
  );
}
