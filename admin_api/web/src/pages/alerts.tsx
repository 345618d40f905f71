// Alerts: what fires and fired, by which rules, and for how long nobody is told.
import { useState } from "preact/hooks";
import { ask, may, serverNow } from "../api";
import { duration, moment, parseSeconds } from "../format";
import { useResource } from "../resource";
import type { Alert, AlertRule, Page, Silence } from "../types";
import { Action, attempt, tell } from "../ui/action";
import { Card, Empty, Heading, Loaded, Pill, type Tone } from "../ui/bits";
import { Check, Choice, Field, FormDialog, FormError, text } from "../ui/form";
import { type Column, Table } from "../ui/table";
import { DeliveriesCard, TargetsCard } from "./targets";

function seconds(form: FormData, name: string): number {
  const found = parseSeconds(text(form, name));
  if (found === null) throw new FormError(`${text(form, name)} is no time`, "such as 30s, 15 min or 2h");
  return found;
}

function SilenceDialog(props: {
  rule: string;
  rules: AlertRule[];
  onClose: () => void;
  onDone: () => Promise<unknown>;
}) {
  return (
    <FormDialog
      title={props.rule === "*" ? "Silence" : `Acknowledge ${props.rule}`}
      submit={props.rule === "*" ? "Silence" : "Acknowledge"}
      onClose={props.onClose}
      onSubmit={async (form) => {
        const rule = props.rule === "*" ? text(form, "rule") : props.rule;
        await ask("POST", "alerts/silences", { rule, for_s: seconds(form, "for"), why: text(form, "why") });
        tell("Nobody is told of it for that time");
        await props.onDone();
      }}
    >
      <p class="muted">Nobody is told for that time. The alert is listed, and ends, all the same.</p>
      {props.rule === "*" && (
        <Choice
          name="rule"
          label="Rule"
          value="*"
          options={[["*", "all rules"], ...props.rules.map((one): [string, string] => [one.name, one.name])]}
        />
      )}
      <Field name="for" label="For how long" required value="4h" hint="Such as 30 min, 4h, 2d." />
      <Field name="why" label="Why" placeholder="disk is being replaced" />
    </FormDialog>
  );
}

function RuleDialog(props: { rule: AlertRule; onClose: () => void; onDone: () => Promise<unknown> }) {
  const { rule } = props;
  return (
    <FormDialog
      title={`Change ${rule.name}`}
      submit="Save"
      onClose={props.onClose}
      onSubmit={async (form) => {
        await ask("PATCH", `alerts/rules/${rule.name}`, {
          enabled: form.get("enabled") !== null,
          above: Number(text(form, "above")),
          clear: Number(text(form, "clear")),
          for_s: seconds(form, "for"),
          clear_for_s: seconds(form, "clear_for"),
          severity: text(form, "severity"),
        });
        await props.onDone();
      }}
    >
      <p class="muted">Fires when {rule.text}.</p>
      <Check name="enabled" label="Look at it" on={rule.enabled} />
      <div class="pair">
        <Field
          name="above"
          label={`Fires above${rule.unit ? ` (${rule.unit})` : ""}`}
          type="number"
          required
          value={String(rule.above)}
        />
        <Field name="for" label="For" required value={`${rule.for_s}s`} />
        <Field
          name="clear"
          label={`Ends at or below${rule.unit ? ` (${rule.unit})` : ""}`}
          type="number"
          required
          value={String(rule.clear)}
        />
        <Field name="clear_for" label="For" required value={`${rule.clear_for_s}s`} />
      </div>
      <Choice
        name="severity"
        label="Severity"
        value={rule.severity}
        options={[
          ["warning", "warning"],
          ["critical", "critical"],
        ]}
      />
    </FormDialog>
  );
}

const STATES: Record<string, Tone> = { ok: "ok", pending: "warning", firing: "critical" };

function alertColumns(acknowledge: (rule: string) => void): Column<Alert>[] {
  return [
    {
      head: "State",
      cell: (one) =>
        one.resolved_s !== null ? (
          <Pill tone="plain">ended</Pill>
        ) : (
          <Pill tone={one.severity}>{one.silenced ? "acknowledged" : one.severity}</Pill>
        ),
    },
    {
      head: "Alert",
      cell: (one) => (
        <>
          {one.text} <span class="muted small">{one.rule}</span>
        </>
      ),
    },
    { head: "Fired", cell: (one) => moment(one.fired_s) },
    { head: "Lasted", number: true, cell: (one) => duration((one.resolved_s ?? serverNow()) - one.fired_s) },
    {
      head: "Change",
      quiet: true,
      cell: (one) =>
        one.resolved_s === null &&
        !one.silenced && (
          <Action
            needs="operator"
            own
            label={`Acknowledge ${one.rule}`}
            onClick={() => acknowledge(one.rule)}
          >
            Acknowledge
          </Action>
        ),
    },
  ];
}

function SilencesCard(props: { found: Silence[]; reload: () => Promise<unknown> }) {
  if (props.found.length === 0) return null;
  return (
    <Card title="Silences">
      <Table
        label="Silences"
        rows={props.found}
        id={(one) => one.id}
        columns={[
          { head: "Rule", cell: (one) => (one.rule === "*" ? "all" : one.rule) },
          { head: "Until", cell: (one) => moment(one.until_s) },
          { head: "Why", cell: (one) => one.why || "–" },
          { head: "By", cell: (one) => one.created_by },
          {
            head: "Change",
            quiet: true,
            cell: (one) => (
              <Action
                needs="operator"
                own
                label={`End the silence of ${one.rule}`}
                onClick={() =>
                  void attempt("The silence is over", async () => {
                    await ask("DELETE", `alerts/silences/${one.id}`);
                    await props.reload();
                  })
                }
              >
                End
              </Action>
            ),
          },
        ]}
      />
    </Card>
  );
}

export function AlertsPage() {
  const alerts = useResource<Page<Alert>>("alerts?limit=30", 2);
  const rules = useResource<Page<AlertRule>>("alerts/rules", 2);
  const silences = useResource<Page<Silence>>("alerts/silences", 5);
  const [quieting, setQuieting] = useState<string | null>(null);
  const [editing, setEditing] = useState<AlertRule | null>(null);
  const changed = () => Promise.all([alerts.reload(), rules.reload(), silences.reload()]);
  return (
    <>
      <Heading
        title="Alerts"
        about="Rules are looked at once a second; who is told hears of each beginning and end once."
        actions={
          <Action needs="operator" own onClick={() => setQuieting("*")}>
            Silence
          </Action>
        }
      />
      <Card title="Firing and past">
        <Loaded of={alerts}>
          {({ items }) =>
            items.length === 0 ? (
              <Empty title="Nothing has fired." hint="That is how it should be." />
            ) : (
              <Table label="Alerts" rows={items} columns={alertColumns(setQuieting)} id={(one) => one.id} />
            )
          }
        </Loaded>
      </Card>
      <SilencesCard found={silences.data?.items ?? []} reload={changed} />
      <Card title="Rules">
        <Loaded of={rules} lines={8}>
          {({ items }) => (
            <Table
              label="Rules"
              rows={items}
              id={(one) => one.name}
              columns={[
                {
                  head: "State",
                  cell: (one) => (
                    <Pill tone={one.enabled ? (STATES[one.state] ?? "plain") : "plain"}>
                      {one.enabled ? one.state : "off"}
                    </Pill>
                  ),
                },
                {
                  head: "Rule",
                  cell: (one) => (
                    <>
                      <b>{one.name}</b> <span class="muted">{one.text}</span>
                    </>
                  ),
                },
                { head: "Severity", cell: (one) => one.severity },
                {
                  head: "Fires",
                  number: true,
                  cell: (one) => `above ${`${one.above} ${one.unit}`.trim()} for ${duration(one.for_s)}`,
                },
                {
                  head: "Change",
                  quiet: true,
                  cell: (one) => (
                    <Action needs="operator" own label={`Change ${one.name}`} onClick={() => setEditing(one)}>
                      Change
                    </Action>
                  ),
                },
              ]}
            />
          )}
        </Loaded>
      </Card>
      {may("operator") && (
        <>
          <TargetsCard />
          <DeliveriesCard />
        </>
      )}
      {quieting !== null && (
        <SilenceDialog
          rule={quieting}
          rules={rules.data?.items ?? []}
          onClose={() => setQuieting(null)}
          onDone={changed}
        />
      )}
      {editing && <RuleDialog rule={editing} onClose={() => setEditing(null)} onDone={changed} />}
    </>
  );
}
