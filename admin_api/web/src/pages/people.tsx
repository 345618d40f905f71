// Users, who sign in with a password, and tokens, which programs sign in with.
import { useState } from "preact/hooks";
import { ask, readAll, session } from "../api";
import { moment } from "../format";
import { useLoaded } from "../resource";
import type { Role, Token, User } from "../types";
import { Action, attempt, tell } from "../ui/action";
import { Card, Empty, Loaded, Pill } from "../ui/bits";
import { Check, Choice, Dialog, Field, FormDialog, text } from "../ui/form";
import { Table } from "../ui/table";

const ROLES: [Role, string][] = [
  ["viewer", "viewer: sees everything"],
  ["operator", "operator: also flushes, warms, sets quotas"],
  ["admin", "admin: changes everything"],
];

function UserDialog(props: { before: User | null; onClose: () => void; onDone: () => Promise<void> }) {
  const { before } = props;
  async function send(form: FormData): Promise<void> {
    const role = text(form, "role");
    const password = String(form.get("password") ?? "");
    if (before) {
      const { etag } = await ask<User>("GET", `users/${before.name}`);
      const disabled = form.get("disabled") !== null;
      await ask(
        "PATCH",
        `users/${before.name}`,
        { role, disabled, ...(password ? { password } : {}) },
        { etag },
      );
    } else {
      await ask("POST", "users", { name: text(form, "name"), role, password });
    }
    await props.onDone();
  }
  return (
    <FormDialog
      title={before ? `Change ${before.name}` : "Add a user"}
      submit={before ? "Save" : "Add"}
      onClose={props.onClose}
      onSubmit={send}
    >
      {before ? (
        <p class="muted">Their sessions end: they sign in again.</p>
      ) : (
        <Field name="name" label="Name" required />
      )}
      <Choice name="role" label="Role" value={before?.role ?? "viewer"} options={ROLES} />
      <Field
        name="password"
        label={before ? "New password" : "Password"}
        type="password"
        required={!before}
        autocomplete="new-password"
        hint={before ? "Empty: it stays." : "At least 10 characters."}
      />
      {before && <Check name="disabled" label="May not sign in" on={before.disabled} />}
    </FormDialog>
  );
}

export function UsersCard() {
  const users = useLoaded<User[]>("users", () => readAll<User>("users"), 15);
  const [editing, setEditing] = useState<User | "new" | null>(null);
  return (
    <Card
      title="Users"
      actions={
        <Action needs="admin" own onClick={() => setEditing("new")}>
          Add a user
        </Action>
      }
    >
      <Loaded of={users}>
        {(items) =>
          items.length === 0 ? (
            <Empty title="There are no users." hint="Add one for each person." />
          ) : (
            <Table
              label="Users"
              rows={items}
              id={(one) => one.name}
              columns={[
                {
                  head: "Name",
                  cell: (one) => (
                    <>
                      <b>{one.name}</b> {one.disabled && <Pill tone="warning">may not sign in</Pill>}
                    </>
                  ),
                },
                { head: "Role", cell: (one) => one.role },
                { head: "Since", cell: (one) => moment(one.created_s) },
                {
                  head: "Change",
                  quiet: true,
                  cell: (one) => (
                    <div class="actions">
                      <Action needs="admin" own label={`Change ${one.name}`} onClick={() => setEditing(one)}>
                        Change
                      </Action>
                      {one.name !== session.value?.name && (
                        <Action
                          needs="admin"
                          own
                          kind="danger"
                          label={`Remove ${one.name}`}
                          onClick={() =>
                            void attempt(`${one.name} is removed`, async () => {
                              await ask("DELETE", `users/${one.name}`);
                              await users.reload();
                            })
                          }
                        >
                          Remove
                        </Action>
                      )}
                    </div>
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
      {editing !== null && (
        <UserDialog
          before={editing === "new" ? null : editing}
          onClose={() => setEditing(null)}
          onDone={users.reload}
        />
      )}
    </Card>
  );
}

/** The secret of a new token, which is shown this once. */
function SecretDialog({ token, onClose }: { token: Token; onClose: () => void }) {
  return (
    <Dialog title={`The token ${token.name}`} onClose={onClose}>
      <p>Copy it now: it is not shown again.</p>
      <code class="secret">{token.token}</code>
      <div class="form-end">
        <button
          type="button"
          onClick={() => void navigator.clipboard.writeText(token.token ?? "").then(() => tell("Copied"))}
        >
          Copy
        </button>
        <button type="button" class="primary" onClick={onClose}>
          Done
        </button>
      </div>
    </Dialog>
  );
}

export function TokensCard() {
  const tokens = useLoaded<Token[]>("tokens", () => readAll<Token>("tokens"), 15);
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState<Token | null>(null);
  return (
    <Card
      title="Tokens"
      actions={
        <Action needs="admin" own onClick={() => setAdding(true)}>
          Make a token
        </Action>
      }
    >
      <Loaded of={tokens}>
        {(items) =>
          items.length === 0 ? (
            <Empty title="There are no tokens." hint="Make one for each program that asks this service." />
          ) : (
            <Table
              label="Tokens"
              rows={items}
              id={(one) => one.id}
              columns={[
                { head: "Name", cell: (one) => <b>{one.name}</b> },
                { head: "Role", cell: (one) => one.role },
                { head: "Made", cell: (one) => `${moment(one.created_s)} by ${one.created_by}` },
                {
                  head: "Expires",
                  cell: (one) => (one.expires_s === null ? "never" : moment(one.expires_s)),
                },
                {
                  head: "Change",
                  quiet: true,
                  cell: (one) => (
                    <Action
                      needs="admin"
                      own
                      kind="danger"
                      label={`Revoke ${one.name}`}
                      onClick={() =>
                        void attempt(`${one.name} is revoked`, async () => {
                          await ask("DELETE", `tokens/${one.id}`);
                          await tokens.reload();
                        })
                      }
                    >
                      Revoke
                    </Action>
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
      {adding && (
        <FormDialog
          title="Make a token"
          submit="Make"
          onClose={() => setAdding(false)}
          onSubmit={async (form) => {
            const days = text(form, "days");
            const { data } = await ask<Token>("POST", "tokens", {
              name: text(form, "name"),
              role: text(form, "role"),
              expires_in_s: days ? Number(days) * 86_400 : null,
            });
            setMade(data);
            await tokens.reload();
          }}
        >
          <Field name="name" label="Name" required placeholder="grafana" />
          <Choice name="role" label="Role" value="viewer" options={ROLES} />
          <Field name="days" label="Days that it is valid" type="number" hint="Empty: until it is revoked." />
        </FormDialog>
      )}
      {made && <SecretDialog token={made} onClose={() => setMade(null)} />}
    </Card>
  );
}
