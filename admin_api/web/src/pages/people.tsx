// Users, who sign in with a password, and tokens, which programs sign in with.
import { useState } from "preact/hooks";
import { ask, type Extras, readAll, session } from "../api";
import { moment } from "../format";
import { useLoaded } from "../resource";
import type { Role, Token, User } from "../types";
import { Action, tell } from "../ui/action";
import { Card, Empty, Loaded, Pill } from "../ui/bits";
import { Check, Choice, Dialog, Field, FormDialog, FormError, text } from "../ui/form";
import { Table } from "../ui/table";

const ROLES: [Role, string][] = [
  ["viewer", "viewer: sees everything"],
  ["operator", "operator: also flushes, warms, sets quotas"],
  ["admin", "admin: changes everything"],
];

function UserDialog(props: { before: User | null; onClose: () => void; onDone: () => Promise<void> }) {
  const { before } = props;
  async function send(form: FormData, once: Extras): Promise<void> {
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
      await ask("POST", "users", { name: text(form, "name"), role, password }, once);
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
  const [removing, setRemoving] = useState<User | null>(null);
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
                          onClick={() => setRemoving(one)}
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
      {removing && (
        <FormDialog
          title={`Remove ${removing.name}?`}
          submit="Remove"
          danger
          onClose={() => setRemoving(null)}
          onSubmit={async () => {
            await ask("DELETE", `users/${removing.name}`);
            tell(`${removing.name} is removed`);
            await users.reload();
          }}
        >
          <p>Their sessions end at once.</p>
        </FormDialog>
      )}
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
  const [revoking, setRevoking] = useState<Token | null>(null);
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
                      onClick={() => setRevoking(one)}
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
          onSubmit={async (form, once) => {
            const days = text(form, "days");
            const expires_in_s = days ? Number(days) * 86_400 : null;
            const body = { name: text(form, "name"), role: text(form, "role"), expires_in_s };
            const { data } = await ask<Token>("POST", "tokens", body, once);
            if (!data.token)
              throw new FormError("it was made, and its answer was lost", "revoke it, and make another");
            setMade(data);
            await tokens.reload();
          }}
        >
          <Field name="name" label="Name" required placeholder="grafana" />
          <Choice name="role" label="Role" value="viewer" options={ROLES} />
          <Field name="days" label="Days that it is valid" type="number" hint="Empty: until it is revoked." />
        </FormDialog>
      )}
      {revoking && (
        <FormDialog
          title={`Revoke ${revoking.name}?`}
          submit="Revoke"
          danger
          onClose={() => setRevoking(null)}
          onSubmit={async () => {
            await ask("DELETE", `tokens/${revoking.id}`);
            tell(`${revoking.name} is revoked`);
            await tokens.reload();
          }}
        >
          <p>Whoever uses it is refused from now on; sessions that it began end.</p>
        </FormDialog>
      )}
      {made && <SecretDialog token={made} onClose={() => setMade(null)} />}
    </Card>
  );
}
