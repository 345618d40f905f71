// Sign-in: by password, by token, or by the organisation's issuer where one is set.
import { useState } from "preact/hooks";
import { signIn, signInByToken } from "../api";
import { useResource } from "../resource";
import { Trouble } from "../ui/bits";
import { Field, text, useSending } from "../ui/form";

export function SignIn() {
  const [byToken, setByToken] = useState(false);
  const options = useResource<{ issuer: boolean }>("sign-in/options");
  const { busy, problem, run } = useSending();

  async function send(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    await run(() =>
      byToken
        ? signInByToken(text(form, "token"))
        : signIn(text(form, "name"), String(form.get("password") ?? "")),
    );
  }

  return (
    <main class="sign-in">
      <h1>
        <span class="mark" aria-hidden="true" /> Caudal
      </h1>
      <form class="card" onSubmit={send} key={String(byToken)}>
        <h2>Sign in</h2>
        {byToken ? (
          <Field name="token" label="Token" type="password" required autocomplete="off" />
        ) : (
          <>
            <Field name="name" label="User" required autocomplete="username" />
            <Field
              name="password"
              label="Password"
              type="password"
              required
              autocomplete="current-password"
            />
          </>
        )}
        {problem && <Trouble problem={problem} />}
        <button type="submit" class="primary wide" disabled={busy}>
          {busy ? "Signing in …" : "Sign in"}
        </button>
        <button type="button" class="plain wide" onClick={() => setByToken(!byToken)}>
          {byToken ? "Use a password" : "Use a token"}
        </button>
        {options.data?.issuer && (
          <a class="button wide" href="/v1/sign-in">
            Sign in by your organisation
          </a>
        )}
      </form>
      <p class="muted first">
        Nobody can sign in yet? As root on the server, <code>caudal user add NAME --role admin</code> makes
        the first user, <code>caudal token create --name NAME --role admin</code> a token.
      </p>
    </main>
  );
}
