// The cache: its tiers and how warm they are, what is brought in and kept, and the policy of its sizes.
import { useState } from "preact/hooks";
import { ask } from "../api";
import { bytes, count, exactBytes, parseBytes, perSecond, share } from "../format";
import { status } from "../live";
import { useResource } from "../resource";
import { useSamples } from "../samples";
import type { Pins, Policy, Tier } from "../types";
import { Action, attempt, tell } from "../ui/action";
import { Bar, Card, Empty, Heading, Loaded, Pill } from "../ui/bits";
import { Chart } from "../ui/chart";
import { Check, Field, FormDialog, FormError, text } from "../ui/form";
import { Table } from "../ui/table";
import { HeatCards } from "./heat";
import { HitRatesCard } from "./hitrates";
import { HITS, HitsCard } from "./hits";
import { OperationsCard } from "./operations";
import { ShelvesCard } from "./shelves";

type Asked = "resize" | "warm" | "pin" | "drop" | null;

function TierRow({ name, tier }: { name: string; tier: Tier }) {
  if (tier.off !== null && tier.capacity_bytes === 0) {
    return (
      <div class="tier">
        <h3>{name}</h3>
        <p class="muted">Off: {tier.off}</p>
      </div>
    );
  }
  const fill = tier.capacity_bytes ? tier.bytes / tier.capacity_bytes : 0;
  const asked = tier.hits + tier.misses;
  return (
    <div class="tier">
      <h3>{name}</h3>
      <p>
        {bytes(tier.bytes)} <span class="muted">of {bytes(tier.capacity_bytes)}</span>
      </p>
      <Bar share={fill} label={`${name} is ${share(fill)} full`} />
      <p class="muted small">
        {asked
          ? `${share(tier.hits / asked)} of ${count(asked)} blocks since the start`
          : "not asked since the start"}
        {tier.errors > 0 && `, ${count(tier.errors)} errors`}
      </p>
    </div>
  );
}

function TiersCard() {
  const found = status.value?.cache;
  return (
    <Card title="Tiers">
      {found ? (
        <>
          <TierRow name="L1, memory" tier={found.l1} />
          <TierRow name="L2, disks" tier={found.l2} />
          <p class="muted small">
            {count(found.pinned_blocks)} blocks are pinned, {count(found.prefetched_blocks)} were brought
            ahead of their reads, {count(found.bad_blocks)} did not fit their checksums and were fetched
            again.
          </p>
        </>
      ) : (
        <Empty title="Nothing is known yet" />
      )}
    </Card>
  );
}

function PolicyCard() {
  const policy = useResource<Policy>("cache/policy", 15);
  return (
    <Card title="Sizes by themselves">
      <Loaded of={policy}>
        {({ on, bounds, latest }) => (
          <>
            <p>
              <Pill tone={on ? "ok" : "plain"}>{on ? "on" : "off"}</Pill>{" "}
              <span class="muted">
                {on
                  ? "Tiers shrink and grow between their bounds, as misses and memory cost."
                  : "Set l1_max_bytes or l2_max_bytes above the sizes, and tiers grow by themselves."}
              </span>
            </p>
            <dl class="pairs">
              {Object.entries(bounds).flatMap(([tier, { low, high }]) => [
                <dt key={tier}>{tier.toUpperCase()}</dt>,
                <dd key={`${tier}-d`}>{low === high ? bytes(low) : `${bytes(low)} to ${bytes(high)}`}</dd>,
              ])}
              {Object.entries(latest).flatMap(([tier, one]) => [
                <dt key={`${tier}-l`}>Latest of {tier.toUpperCase()}</dt>,
                <dd key={`${tier}-ld`}>{String(one.reason ?? one.why ?? "")}</dd>,
              ])}
            </dl>
          </>
        )}
      </Loaded>
    </Card>
  );
}

function PinsCard({ pin }: { pin: () => void }) {
  const pins = useResource<Pins>("cache/pins", 4);
  return (
    <Card
      title="Pinned paths"
      actions={
        <Action needs="operator" onClick={pin}>
          Pin a path
        </Action>
      }
    >
      <Loaded of={pins}>
        {({ items, room_bytes }) =>
          items.length === 0 ? (
            <Empty
              title="Nothing is pinned."
              hint={`A pinned path stays in L2. There is room for ${bytes(room_bytes)}.`}
            />
          ) : (
            <Table
              label="Pinned paths"
              rows={items}
              id={(one) => one.path}
              columns={[
                { head: "Path", cell: (one) => <code>{one.path}</code> },
                {
                  head: "Held",
                  number: true,
                  cell: (one) => `${bytes(one.held_bytes)} of ${bytes(one.bytes)}`,
                },
                {
                  head: "State",
                  cell: (one) =>
                    one.why ? <Pill tone="warning">{one.why}</Pill> : <Pill tone="ok">kept</Pill>,
                },
                {
                  head: "Change",
                  quiet: true,
                  cell: (one) => (
                    <Action
                      needs="operator"
                      label={`Unpin ${one.path}`}
                      onClick={() =>
                        void attempt(`${one.path} is not pinned any more`, async () => {
                          await ask("DELETE", `cache/pins?path=${encodeURIComponent(one.path)}`);
                          await pins.reload();
                        })
                      }
                    >
                      Unpin
                    </Action>
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
    </Card>
  );
}

function AskedDialog({ asked, close }: { asked: Asked; close: () => void }) {
  if (asked === "resize") {
    return (
      <FormDialog
        title="Resize L1"
        submit="Resize"
        onClose={close}
        onSubmit={async (form) => {
          const size = parseBytes(text(form, "size"));
          if (size === null) throw new FormError("that is no size", "such as 8 GiB");
          await ask("PUT", "cache/l1", { bytes: size });
          tell(`L1 has ${bytes(size)} now`);
        }}
      >
        <Field
          name="size"
          label="Size in memory"
          required
          value={exactBytes(status.value?.cache.l1.capacity_bytes ?? null)}
          hint="At once, and over restarts, until the configuration's l1_bytes is changed."
        />
      </FormDialog>
    );
  }
  if (asked === "warm" || asked === "pin") {
    return (
      <FormDialog
        title={asked === "warm" ? "Warm a path" : "Pin a path"}
        submit={asked === "warm" ? "Warm" : "Pin"}
        onClose={close}
        onSubmit={async (form) => {
          await ask("POST", asked === "warm" ? "cache/warm" : "cache/pins", { path: text(form, "path") });
        }}
      >
        <p class="muted">
          {asked === "warm"
            ? "What the path holds is brought into the cache."
            : "What the path holds is brought into L2 and stays there."}
        </p>
        <Field name="path" label="Path, as clients see it" required placeholder="/data/projects" />
      </FormDialog>
    );
  }
  if (asked === "drop") {
    return (
      <FormDialog
        title="Drop the cache?"
        submit="Drop"
        danger
        onClose={close}
        onSubmit={async (form) => {
          const tiers = { l1: form.get("l1") !== null, l2: form.get("l2") !== null };
          await ask("POST", "cache/drop", tiers);
          tell("The cache is empty");
        }}
      >
        <p>Reads are slow until it is warm again. What is not in the store yet stays.</p>
        <Check name="l1" label="L1, memory" on />
        <Check name="l2" label="L2, disks" />
      </FormDialog>
    );
  }
  return null;
}

export function CachePage() {
  const [asked, setAsked] = useState<Asked>(null);
  const found = useSamples(HITS, 300);
  return (
    <>
      <Heading
        title="Cache"
        about="Blocks that were read stay in memory (L1) and on disks (L2), so that the store is asked once."
        actions={
          <>
            <Action needs="operator" onClick={() => setAsked("warm")}>
              Warm a path
            </Action>
            <Action needs="admin" onClick={() => setAsked("resize")}>
              Resize L1
            </Action>
            <Action needs="operator" kind="danger" onClick={() => setAsked("drop")}>
              Drop
            </Action>
          </>
        }
      />
      <div class="grid two">
        <TiersCard />
        <HitsCard found={found} span="5 minutes" />
      </div>
      <Card title="Blocks a second">
        <Chart
          title="Last 5 minutes"
          found={found}
          format={perSecond}
          lines={[
            { name: "l1_hits", label: "from L1", color: 1 },
            { name: "l2_hits", label: "from L2", color: 3 },
            { name: "l2_misses", label: "from Blob", color: 2 },
          ]}
        />
      </Card>
      <HitRatesCard />
      <ShelvesCard />
      <HeatCards />
      <PinsCard pin={() => setAsked("pin")} />
      <PolicyCard />
      <OperationsCard
        title="Warming, pinning, draining"
        kinds={["cache.warm", "cache.pin", "cache.shelf.drain"]}
      />
      <AskedDialog asked={asked} close={() => setAsked(null)} />
    </>
  );
}
