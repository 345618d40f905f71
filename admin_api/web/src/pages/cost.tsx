// Cost: what any time used and what it came to, by the operator's own prices.
import { useState } from "preact/hooks";
import { ask, serverNow } from "../api";
import { bytes, count, duration, moment, money } from "../format";
import { useLoaded, useResource } from "../resource";
import type { Metered, ShownSheet } from "../types";
import { Action, tell } from "../ui/action";
import { Card, Empty, Heading, Loaded, Stat, Stats } from "../ui/bits";
import { Field, FormDialog, FormError, text } from "../ui/form";
import { Ranges } from "../ui/ranges";
import { Table } from "../ui/table";

interface Span {
  label: string;
  /** Seconds before now; 0: since the month began (UTC); otherwise `from` and `to` are given. */
  seconds: number | null;
  from?: number;
  to?: number;
}

const SPANS: Span[] = [
  { label: "Last 15 min", seconds: 900 },
  { label: "Last hour", seconds: 3600 },
  { label: "Last 24 hours", seconds: 86_400 },
  { label: "Last 7 days", seconds: 7 * 86_400 },
  { label: "This month", seconds: 0 },
];

function bounds(span: Span): { from: number; to: number } {
  if (span.from !== undefined && span.to !== undefined) return { from: span.from, to: span.to };
  const to = serverNow();
  if (span.seconds) return { from: to - span.seconds, to };
  const date = new Date(to * 1000);
  return { from: Date.UTC(date.getUTCFullYear(), date.getUTCMonth()) / 1000, to };
}

function query(span: Span): string {
  const { from, to } = bounds(span);
  return `from=${Math.floor(from)}&to=${Math.ceil(to)}`;
}

/** What each item is priced by, in words with its figures. */
const AMOUNTS: Record<string, (used: Record<string, number>) => string> = {
  capacity_gib_month: (used) => `${bytes((used.used_byte_s ?? 0) / Math.max(1, used.up_s ?? 0))} on average`,
  throughput_mibs_hour: (used) =>
    `${bytes((used.read_bytes ?? 0) + (used.written_bytes ?? 0))} read and written`,
  store_reads_10k: (used) => `${count((used.store_gets ?? 0) + (used.store_heads ?? 0))} reads`,
  store_writes_10k: (used) => `${count(used.store_puts)} writes`,
  store_lists_10k: (used) => `${count(used.store_lists)} listings`,
  store_deletes_10k: (used) => `${count(used.store_deletes)} deletions`,
  store_received_gib: (used) => bytes(used.store_received_bytes),
  store_sent_gib: (used) => bytes(used.store_sent_bytes),
  vm_hour: (used) => `served ${duration(used.up_s)}`,
  disk_gib_month: (used) => `${bytes((used.disk_byte_s ?? 0) / Math.max(1, used.up_s ?? 0))} on average`,
};

function Used({ found, sheet }: { found: Metered; sheet: ShownSheet }) {
  const items = Object.entries(sheet.items).map(([item, what]) => ({ item, what }));
  return (
    <>
      <Stats>
        <Stat
          label="Cost"
          value={found.cost === null ? "no prices yet" : money(found.cost, found.currency)}
          note={`${moment(found.from_s).slice(0, 16)} to ${moment(found.to_s).slice(0, 16)}`}
        />
        <Stat label="Read by clients" value={bytes(found.quantities.read_bytes)} />
        <Stat label="Written by clients" value={bytes(found.quantities.written_bytes)} />
        <Stat
          label="Files"
          value={bytes((found.quantities.used_byte_s ?? 0) / Math.max(1, found.quantities.up_s ?? 0))}
          note="on average"
        />
        <Stat label="Served" value={duration(found.quantities.up_s)} />
      </Stats>
      <Table
        label="Cost by item"
        rows={items}
        id={(one) => one.item}
        columns={[
          { head: "Priced", cell: (one) => one.what },
          { head: "Used", number: true, cell: (one) => AMOUNTS[one.item]?.(found.quantities) ?? "" },
          {
            head: "Price",
            number: true,
            cell: (one) => money(sheet.sheet?.prices[one.item], sheet.sheet?.currency ?? null),
          },
          {
            head: "Cost",
            number: true,
            cell: (one) => <b>{money(found.cost_by_item?.[one.item], found.currency)}</b>,
          },
        ]}
      />
    </>
  );
}

function ByExport({ found }: { found: Metered }) {
  if (found.exports.length === 0) return <Empty title="No export was read or written in this time." />;
  return (
    <Table
      label="Usage by export"
      rows={found.exports}
      id={(one) => one.name}
      columns={[
        { head: "Export", cell: (one) => one.name },
        { head: "Reads", number: true, cell: (one) => `${count(one.reads)}, ${bytes(one.read_bytes)}` },
        { head: "Writes", number: true, cell: (one) => `${count(one.writes)}, ${bytes(one.written_bytes)}` },
        { head: "Throughput cost", number: true, cell: (one) => money(one.cost, found.currency) },
      ]}
    />
  );
}

function PricesDialog(props: { shown: ShownSheet; onClose: () => void; onDone: () => Promise<unknown> }) {
  const { sheet, items } = props.shown;
  async function send(form: FormData): Promise<void> {
    const prices: Record<string, number> = {};
    for (const item of Object.keys(items)) {
      const given = text(form, item);
      if (given) prices[item] = Number(given);
    }
    const currency = text(form, "currency").toUpperCase();
    if (!/^[A-Z]{3}$/.test(currency))
      throw new FormError("a currency has three letters", "such as EUR or USD");
    const budget = text(form, "budget");
    const body = { currency, prices, budget_month: budget ? Number(budget) : null };
    const { etag } = await ask<ShownSheet>("GET", "meter/prices");
    await ask("PUT", "meter/prices", body, { etag });
    tell("The prices hold, for the past too");
    await props.onDone();
  }
  return (
    <FormDialog title="Prices" submit="Save" onClose={props.onClose} onSubmit={send}>
      <p class="muted">Of your own contract: Caudal knows none. What is left empty costs nothing.</p>
      <div class="pair">
        <Field name="currency" label="Currency" required value={sheet?.currency ?? ""} placeholder="EUR" />
        <Field
          name="budget"
          label="Budget of a month"
          type="number"
          value={sheet?.budget_month ? String(sheet.budget_month) : ""}
          hint="Alerts tell at 80 % and 100 %."
        />
      </div>
      {Object.entries(items).map(([item, what]) => (
        <Field
          key={item}
          name={item}
          label={what[0]?.toUpperCase() + what.slice(1)}
          type="number"
          value={sheet?.prices[item] === undefined ? "" : String(sheet.prices[item])}
        />
      ))}
    </FormDialog>
  );
}

function SpanDialog({ onClose, choose }: { onClose: () => void; choose: (span: Span) => void }) {
  const local = (at: number) => moment(at).slice(0, 16).replace(" ", "T");
  return (
    <FormDialog
      title="Another time"
      submit="Show"
      onClose={onClose}
      onSubmit={async (form) => {
        const [from, to] = ["from", "to"].map((name) => new Date(text(form, name)).getTime() / 1000);
        if (!from || !to || from >= to) throw new FormError("the end is not after the beginning");
        choose({ label: "Another time", seconds: null, from, to });
      }}
    >
      <Field name="from" label="From" type="datetime-local" required value={local(serverNow() - 3600)} />
      <Field name="to" label="To" type="datetime-local" required value={local(serverNow())} />
      <p class="muted small">Whole minutes of the last 35 days; whole hours before.</p>
    </FormDialog>
  );
}

export function CostPage() {
  const [span, setSpan] = useState<Span>(SPANS[1] as Span);
  const [asked, setAsked] = useState<"prices" | "span" | null>(null);
  const sheet = useResource<ShownSheet>("meter/prices");
  const metered = useLoaded<Metered>(
    `${span.label}${span.from}${span.to}`,
    async () => (await ask<Metered>("GET", `meter?${query(span)}`)).data,
    5,
  );
  return (
    <>
      <Heading
        title="Cost"
        about="Usage is metered each minute; prices are yours. A cost is the sum of prices times what was used."
        actions={
          <>
            <a class="button" href={`/v1/meter.csv?${query(span)}`} download="caudal-meter.csv">
              CSV by hour
            </a>
            <Action needs="admin" kind="primary" own onClick={() => setAsked("prices")}>
              Prices
            </Action>
          </>
        }
      />
      <Card
        title="Used"
        actions={
          <Ranges legend="Time" options={SPANS} is={(one) => one.label === span.label} choose={setSpan}>
            <button type="button" aria-pressed={span.seconds === null} onClick={() => setAsked("span")}>
              Another time
            </button>
          </Ranges>
        }
      >
        <Loaded of={sheet} lines={8}>
          {(shown) => (
            <Loaded of={metered} lines={8}>
              {(found) => <Used found={found} sheet={shown} />}
            </Loaded>
          )}
        </Loaded>
      </Card>
      <Card title="By export">
        <Loaded of={metered}>{(found) => <ByExport found={found} />}</Loaded>
      </Card>
      {asked === "prices" && sheet.data && (
        <PricesDialog
          shown={sheet.data}
          onClose={() => setAsked(null)}
          onDone={() => Promise.all([sheet.reload(), metered.reload()])}
        />
      )}
      {asked === "span" && <SpanDialog onClose={() => setAsked(null)} choose={setSpan} />}
    </>
  );
}
