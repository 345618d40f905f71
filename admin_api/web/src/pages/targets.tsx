// Who is told of alerts, and what of that has gone out.
import { useState } from "preact/hooks";
import { ask, type Extras } from "../api";
import { moment } from "../format";
import { useResource } from "../resource";
import type { Delivery, Page, Target } from "../types";
import { Action, attempt, tell } from "../ui/action";
import { Card, Empty, Loaded, Pill, type Tone } from "../ui/bits";
import { Check, Choice, Field, FormDialog, text } from "../ui/form";
import { Table } from "../ui/table";

const STATES: Record<string, Tone> = { sent: "ok", waiting: "warning", given_up: "critical" };

function TargetDialog({ onClose, onDone }: { onClose: () => void; onDone: () => Promise<void> }) {
  const [kind, setKind] = useState("webhook");
  async function send(form: FormData, once: Extras): Promise<void> {
    const common = { name: text(form, "name"), kind };
    if (kind === "webhook") {
      const body = { ...common, url: text(form, "url"), secret: text(form, "secret") };
      await ask("POST", "alerts/targets", body, once);
    } else {
      const username = text(form, "username");
      const body = {
        ...common,
        host: text(form, "host"),
        port: Number(text(form, "port") || 25),
        sender: text(form, "sender"),
        recipients: text(form, "recipients").split(/[\s,]+/),
        starttls: form.get("starttls") !== null,
        ...(username ? { username, password: String(form.get("password") ?? "") } : {}),
      };
      await ask("POST", "alerts/targets", body, once);
    }
    await onDone();
  }
  return (
    <FormDialog title="Tell somebody" submit="Add" onClose={onClose} onSubmit={send}>
      <Field name="name" label="Name" required placeholder="ops" />
      <Choice
        name="kind"
        label="How"
        value={kind}
        onChoose={setKind}
        options={[
          ["webhook", "a webhook: POST of JSON"],
          ["email", "an e-mail"],
        ]}
      />
      {kind === "webhook" ? (
        <>
          <Field name="url" label="Address" required placeholder="https://example.com/hook" />
          <Field
            name="secret"
            label="Secret"
            type="password"
            required
            hint="At least 16 signs; the receiver checks the signature by it."
          />
        </>
      ) : (
        <>
          <div class="pair">
            <Field name="host" label="Mail server" required placeholder="smtp.example.com" />
            <Field name="port" label="Port" type="number" value="25" />
          </div>
          <Field name="sender" label="From" required placeholder="nas@example.com" />
          <Field name="recipients" label="To" required placeholder="ops@example.com" />
          <Check name="starttls" label="Over TLS (STARTTLS)" on />
          <div class="pair">
            <Field name="username" label="User" hint="Empty: without signing in." />
            <Field name="password" label="Password" type="password" />
          </div>
        </>
      )}
    </FormDialog>
  );
}

async function trial(name: string): Promise<void> {
  const { data } = await ask<{ sent: boolean; error: string | null }>("POST", `alerts/targets/${name}/test`);
  if (data.sent) tell(`${name} took it`);
  else tell(`${name} did not take it`, data.error ?? "", true);
}

export function TargetsCard() {
  const targets = useResource<Page<Target>>("alerts/targets", 15);
  const [adding, setAdding] = useState(false);
  return (
    <Card
      title="Who is told"
      actions={
        <Action needs="admin" own onClick={() => setAdding(true)}>
          Tell somebody
        </Action>
      }
    >
      <Loaded of={targets}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="Nobody is told of alerts." hint="Add a webhook or an e-mail address." />
          ) : (
            <Table
              label="Who is told"
              rows={items}
              id={(one) => one.name}
              columns={[
                { head: "Name", cell: (one) => <b>{one.name}</b> },
                { head: "How", cell: (one) => one.kind },
                { head: "Where", cell: (one) => one.where },
                {
                  head: "Change",
                  quiet: true,
                  cell: (one) => (
                    <div class="actions">
                      <Action
                        needs="operator"
                        own
                        label={`Test ${one.name}`}
                        onClick={() => void trial(one.name)}
                      >
                        Test
                      </Action>
                      <Action
                        needs="admin"
                        own
                        kind="danger"
                        label={`Remove ${one.name}`}
                        onClick={() =>
                          void attempt(`${one.name} is told no more`, async () => {
                            await ask("DELETE", `alerts/targets/${one.name}`);
                            await targets.reload();
                          })
                        }
                      >
                        Remove
                      </Action>
                    </div>
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
      {adding && <TargetDialog onClose={() => setAdding(false)} onDone={targets.reload} />}
    </Card>
  );
}

export function DeliveriesCard() {
  const deliveries = useResource<Page<Delivery>>("alerts/deliveries", 5);
  const items = deliveries.data?.items.slice(0, 10) ?? [];
  if (items.length === 0) return null;
  return (
    <Card title="Messages">
      <Table
        label="Messages"
        rows={items}
        id={(one) => one.id}
        columns={[
          { head: "To", cell: (one) => one.target },
          {
            head: "State",
            cell: (one) => <Pill tone={STATES[one.state] ?? "plain"}>{one.state.replace("_", " ")}</Pill>,
          },
          { head: "Made", cell: (one) => moment(one.created_s) },
          { head: "Tries", number: true, cell: (one) => one.attempts },
          { head: "Error", cell: (one) => one.error ?? "–" },
        ]}
      />
    </Card>
  );
}
