// Exports: what clients mount, and who may do what there.
import { useState } from "preact/hooks";
import { ask, type Extras } from "../api";
import { bytes } from "../format";
import { status } from "../live";
import { useResource } from "../resource";
import type { Export, Page, Rule } from "../types";
import { Action, tell } from "../ui/action";
import { Card, Empty, Heading, Loaded, Pill } from "../ui/bits";
import { Check, Choice, Field, FormDialog, FormError, text } from "../ui/form";
import { type Column, Table } from "../ui/table";
import { AUDITS, AuditPill, FileAuditCard } from "./fileaudit";

const ACCESS: [string, string][] = [
  ["rw", "read and write"],
  ["ro", "read only"],
  ["none", "no access"],
];
const SQUASH: [string, string][] = [
  ["root", "root is anonymous"],
  ["none", "root is root"],
  ["all", "everybody is anonymous"],
];
const NEW_RULE: Rule = { clients: [], access: "rw", squash: "root" };

function RulesEditor({ rules, onChange }: { rules: Rule[]; onChange: (rules: Rule[]) => void }) {
  const put = (at: number, change: Partial<Rule>) =>
    onChange(rules.map((one, index) => (index === at ? { ...one, ...change } : one)));
  return (
    <fieldset class="rules">
      <legend>Who may mount it</legend>
      {rules.map((rule, index) => (
        // Rules have no names: their order is what they are.
        <div class="rule" key={`rule-${index + 1}`}>
          <input
            aria-label={`Clients of rule ${index + 1}`}
            placeholder="10.0.0.0/8, host, @netgroup or *"
            value={rule.clients.join(" ")}
            spellcheck={false}
            required
            onInput={(event) => put(index, { clients: event.currentTarget.value.split(/[\s,]+/) })}
          />
          <select
            aria-label={`Access of rule ${index + 1}`}
            value={rule.access}
            onChange={(event) => put(index, { access: event.currentTarget.value as Rule["access"] })}
          >
            {ACCESS.map(([value, label]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </select>
          <select
            aria-label={`Identity of rule ${index + 1}`}
            value={rule.squash}
            onChange={(event) => put(index, { squash: event.currentTarget.value as Rule["squash"] })}
          >
            {SQUASH.map(([value, label]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </select>
          <button
            type="button"
            aria-label={`Remove rule ${index + 1}`}
            disabled={rules.length === 1}
            onClick={() => onChange(rules.filter((_, at) => at !== index))}
          >
            Remove
          </button>
        </div>
      ))}
      <button type="button" class="plain" onClick={() => onChange([...rules, NEW_RULE])}>
        Add a rule
      </button>
      <p class="hint">The first rule that names a client holds; who is named by none gets nothing.</p>
    </fieldset>
  );
}

function ExportDialog(props: { before: Export | null; onClose: () => void; onDone: () => Promise<void> }) {
  const { before } = props;
  const [rules, setRules] = useState<Rule[]>(before?.rules ?? [NEW_RULE]);
  async function send(form: FormData, once: Extras): Promise<void> {
    const sent = rules.map((rule) => ({ ...rule, clients: rule.clients.filter(Boolean) }));
    if (sent.some((rule) => rule.clients.length === 0)) {
      throw new FormError("a rule names no client", "give an address, a network, a host name or *");
    }
    const read_only = form.get("read_only") !== null;
    const security = text(form, "security").split(",");
    const audit = text(form, "audit");
    if (before) {
      const body = { rules: sent, read_only, security, audit };
      await ask("PATCH", `exports/${before.name}`, body, { etag: `"${before.version}"` });
    } else {
      const name = text(form, "name");
      const body = { name, path: text(form, "path"), pseudo: text(form, "pseudo") || `/${name}` };
      await ask("POST", "exports", { ...body, rules: sent, read_only, security, audit }, once);
    }
    await props.onDone();
  }
  return (
    <FormDialog
      title={before ? `Change ${before.name}` : "Add an export"}
      submit={before ? "Save" : "Add"}
      onClose={props.onClose}
      onSubmit={send}
    >
      {before === null && (
        <>
          <Field name="name" label="Name" required placeholder="projects" />
          <div class="pair">
            <Field
              name="path"
              label="Directory"
              required
              placeholder="/projects"
              hint="From the root of the file system; it must exist."
            />
            <Field name="pseudo" label="Clients mount" placeholder="/NAME" hint="Empty: / and the name." />
          </div>
        </>
      )}
      <RulesEditor rules={rules} onChange={setRules} />
      <Choice
        name="security"
        label="Security"
        value={before?.security.join(",") ?? "sys"}
        options={[
          ["sys", "sys: the client names its users"],
          ["none", "none: everybody is anonymous"],
          ["krb5", "krb5: Kerberos says who it is"],
          ["krb5i", "krb5i: and nobody on the way changes anything"],
          ["krb5p", "krb5p: and nobody on the way reads it"],
          ...severalOf(before),
        ]}
      />
      <Choice
        name="audit"
        label="Audit of files"
        value={before?.audit ?? "off"}
        options={AUDITS}
        hint="What its clients do to files, told at once from then on."
      />
      <Check name="read_only" label="Read only, whatever the rules say" on={before?.read_only ?? false} />
    </FormDialog>
  );
}

/** What the form has no choice for: several that an export was given by the command line. */
function severalOf(before: Export | null): [string, string][] {
  if (!before || before.security.length < 2) return [];
  return [[before.security.join(","), before.security.join(", ")]];
}

function State({ one }: { one: Export }) {
  if (!one.serving) return <Pill tone="critical">directory is gone</Pill>;
  return one.read_only ? <Pill tone="warning">read only</Pill> : <Pill tone="ok">served</Pill>;
}

function traffic(name: string): string {
  const found = status.value?.exports.find((one) => one.name === name);
  return found ? `${bytes(found.read_bytes)} / ${bytes(found.written_bytes)}` : "–";
}

export function ExportsPage() {
  const exports = useResource<Page<Export>>("exports", 10);
  const [editing, setEditing] = useState<Export | "new" | null>(null);
  const [removing, setRemoving] = useState<Export | null>(null);
  const columns: Column<Export>[] = [
    { head: "Name", cell: (one) => <b>{one.name}</b> },
    {
      head: "Clients mount",
      cell: (one) => (
        <>
          <code>{one.pseudo}</code>
          <span class="muted small block">
            directory <code>{one.path}</code>
          </span>
        </>
      ),
    },
    {
      head: "Who",
      cell: (one) => one.rules.map((rule) => `${rule.clients.join(" ")} (${rule.access})`).join("; "),
    },
    { head: "State", cell: (one) => <State one={one} /> },
    { head: "Audit", cell: (one) => <AuditPill level={one.audit} /> },
    { head: "Read / written", number: true, cell: (one) => traffic(one.name) },
    {
      head: "Change",
      quiet: true,
      cell: (one) =>
        one.configured ? (
          <span class="muted small">of the configuration</span>
        ) : (
          <div class="actions">
            <Action needs="admin" label={`Change ${one.name}`} onClick={() => setEditing(one)}>
              Change
            </Action>
            <Action needs="admin" label={`Remove ${one.name}`} kind="danger" onClick={() => setRemoving(one)}>
              Remove
            </Action>
          </div>
        ),
    },
  ];
  return (
    <>
      <Heading
        title="Exports"
        about="Directories that clients mount. Exports come, change and go while others serve."
        actions={
          <Action needs="admin" kind="primary" onClick={() => setEditing("new")}>
            Add an export
          </Action>
        }
      />
      <Card title="All exports">
        <Loaded of={exports}>
          {({ items }) =>
            items.length === 0 ? (
              <Empty title="There is no export." hint="Add one, so that clients have something to mount." />
            ) : (
              <Table label="Exports" rows={items} columns={columns} id={(one) => one.id} />
            )
          }
        </Loaded>
      </Card>
      <FileAuditCard />
      <Card title="To mount one">
        <p class="muted">On a client that a rule names, with nfs-common installed:</p>
        <pre>
          <code>{`mount -t nfs -o vers=4.2 ${location.hostname}:${exports.data?.items.at(-1)?.pseudo ?? "/data"} /mnt`}</code>
        </pre>
      </Card>
      {editing !== null && (
        <ExportDialog
          before={editing === "new" ? null : editing}
          onClose={() => setEditing(null)}
          onDone={exports.reload}
        />
      )}
      {removing && (
        <FormDialog
          title={`Remove ${removing.name}?`}
          submit="Remove"
          danger
          onClose={() => setRemoving(null)}
          onSubmit={async () => {
            await ask("DELETE", `exports/${removing.name}`, undefined, { etag: `"${removing.version}"` });
            tell(`${removing.name} is removed`);
            await exports.reload();
          }}
        >
          <p>Clients that have it mounted get an error (ESTALE). The files stay.</p>
        </FormDialog>
      )}
    </>
  );
}
