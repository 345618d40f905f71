// The OpenID Connect issuer by which people of the organisation sign in.
import { useState } from "preact/hooks";
import { ask } from "../api";
import { useResource } from "../resource";
import type { Role } from "../types";
import { Action, tell } from "../ui/action";
import { Card, Empty, Loaded } from "../ui/bits";
import { Field, FormDialog, text } from "../ui/form";

interface Settings {
  issuer: string;
  client_id: string;
  redirect_uri: string;
  role_claim: string;
  name_claim: string;
  scopes: string;
  roles: Partial<Record<Role, string[]>>;
}

interface Shown {
  settings: Settings | null;
  has_secret: boolean;
}

const ROLES: Role[] = ["admin", "operator", "viewer"];

function IssuerDialog(props: { before: Settings | null; onClose: () => void; onDone: () => Promise<void> }) {
  const { before } = props;
  async function send(form: FormData): Promise<void> {
    const roles: Settings["roles"] = {};
    for (const role of ROLES) {
      const values = text(form, role)
        .split(/[\s,]+/)
        .filter(Boolean);
      if (values.length > 0) roles[role] = values;
    }
    const secret = String(form.get("client_secret") ?? "");
    const body = {
      issuer: text(form, "issuer"),
      client_id: text(form, "client_id"),
      redirect_uri: text(form, "redirect_uri"),
      role_claim: text(form, "role_claim"),
      name_claim: text(form, "name_claim"),
      scopes: before?.scopes ?? "openid profile email",
      roles,
      ...(secret ? { client_secret: secret } : {}),
    };
    const { etag } = await ask<Shown>("GET", "sign-in/settings");
    await ask("PUT", "sign-in/settings", body, { etag });
    tell("It holds from the next sign-in on");
    await props.onDone();
  }
  return (
    <FormDialog title="Sign-in by an issuer" submit="Save" onClose={props.onClose} onSubmit={send}>
      <Field
        name="issuer"
        label="Issuer"
        required
        value={before?.issuer}
        placeholder="https://login.microsoftonline.com/TENANT/v2.0"
      />
      <Field name="client_id" label="Client id" required value={before?.client_id} />
      <Field
        name="client_secret"
        label="Client secret"
        type="password"
        hint="Empty: the one that is set stays."
      />
      <Field
        name="redirect_uri"
        label="Redirect address, as registered there"
        required
        value={before?.redirect_uri ?? `${location.origin}/v1/sign-in/callback`}
      />
      <div class="pair">
        <Field name="role_claim" label="Claim with roles" required value={before?.role_claim ?? "roles"} />
        <Field
          name="name_claim"
          label="Claim with the name"
          required
          value={before?.name_claim ?? "preferred_username"}
        />
      </div>
      {ROLES.map((role) => (
        <Field
          key={role}
          name={role}
          label={`Values that make an ${role}`.replace("an v", "a v")}
          value={before?.roles[role]?.join(" ")}
        />
      ))}
    </FormDialog>
  );
}

export function IssuerCard() {
  const shown = useResource<Shown>("sign-in/settings");
  const [editing, setEditing] = useState(false);
  return (
    <Card
      title="Sign-in by your organisation"
      actions={
        <Action needs="admin" own onClick={() => setEditing(true)}>
          {shown.data?.settings ? "Change" : "Set an issuer"}
        </Action>
      }
    >
      <Loaded of={shown}>
        {({ settings, has_secret }) =>
          settings === null ? (
            <Empty
              title="No issuer is set."
              hint="People may sign in by Entra ID or another OpenID Connect issuer."
            />
          ) : (
            <dl class="pairs">
              <dt>Issuer</dt>
              <dd>{settings.issuer}</dd>
              <dt>Client id</dt>
              <dd>{settings.client_id}</dd>
              <dt>Client secret</dt>
              <dd>{has_secret ? "set" : "none"}</dd>
              {ROLES.flatMap((role) => [
                <dt key={role}>{role}</dt>,
                <dd key={`${role}-d`}>{settings.roles[role]?.join(", ") ?? "–"}</dd>,
              ])}
            </dl>
          )
        }
      </Loaded>
      {editing && shown.data && (
        <IssuerDialog before={shown.data.settings} onClose={() => setEditing(false)} onDone={shown.reload} />
      )}
    </Card>
  );
}
