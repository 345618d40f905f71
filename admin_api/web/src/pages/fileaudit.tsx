// The audit of file operations: what of each export is told, and where it goes.
import { count } from "../format";
import { status } from "../live";
import { useResource } from "../resource";
import type { AuditLevel, ConfigKey } from "../types";
import { Card, Loaded, Pill } from "../ui/bits";

export const AUDITS: [AuditLevel, string][] = [
  ["off", "off: nothing is told"],
  ["changes", "changes: who changed what, and first writes"],
  ["all", "all: and first reads"],
];

export function AuditPill({ level }: { level: AuditLevel }) {
  return <Pill tone={level === "off" ? "plain" : "ok"}>{level}</Pill>;
}

function Counted() {
  const told = status.value?.audit;
  if (!told) return null;
  return (
    <>
      <dt>Exports audited</dt>
      <dd>{count(told.exports)}</dd>
      <dt>Waiting to be written</dt>
      <dd>{count(told.waiting)}</dd>
      <dt>Dropped since the start</dt>
      <dd>{told.dropped > 0 ? <Pill tone="warning">{count(told.dropped)}</Pill> : "none"}</dd>
    </>
  );
}

export function FileAuditCard() {
  const config = useResource<ConfigKey[]>("config", 15);
  return (
    <Card title="Audit of files">
      <p class="muted">
        Who did what to files, with address and user, in a file that root alone reads. Set it in an export's
        form; that of the configuration's export by its key <code>audit</code>.
      </p>
      <Loaded of={config}>
        {(keys) => {
          const value = (key: string) => String(keys.find((one) => one.key === key)?.value ?? "");
          const collector = value("audit_syslog");
          return (
            <dl class="pairs">
              <dt>Written on the server to</dt>
              <dd>
                <code>{value("state")}/audit/audit.jsonl</code>
              </dd>
              <dt>Sent as syslog to</dt>
              <dd>
                {collector ? (
                  <code>{collector}</code>
                ) : (
                  <>
                    nobody: <code>audit_syslog</code> of the configuration names a collector
                  </>
                )}
              </dd>
              <Counted />
            </dl>
          );
        }}
      </Loaded>
    </Card>
  );
}
