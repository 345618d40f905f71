// Shelves: the disks of L2, which come and go while clients read.
import { useState } from "preact/hooks";
import { ask } from "../api";
import { bytes, count, exactBytes, parseBytes, share } from "../format";
import { status } from "../live";
import type { Shelf } from "../types";
import { Action, attempt, tell } from "../ui/action";
import { Bar, Card, Empty, Pill, type Tone } from "../ui/bits";
import { Field, FormDialog, FormError, text } from "../ui/form";
import { Table } from "../ui/table";

const TONES: Record<string, Tone> = { ok: "ok", draining: "warning", full: "warning", failed: "critical" };
type Asked = { what: "add" } | { what: "resize" | "remove"; shelf: Shelf } | null;

function size(form: FormData): number | null {
  const given = text(form, "size");
  if (!given) return null;
  const found = parseBytes(given);
  if (found === null) throw new FormError(`${given} is no size`, "such as 500 GiB");
  return found;
}

function ShelfDialog({ asked, close }: { asked: Asked; close: () => void }) {
  if (asked === null) return null;
  if (asked.what === "add") {
    return (
      <FormDialog
        title="Add a shelf"
        submit="Add"
        onClose={close}
        onSubmit={async (form) => {
          await ask("POST", "cache/shelves", { path: text(form, "path"), bytes: size(form) });
          tell(`The shelf ${text(form, "path")} takes blocks`);
        }}
      >
        <Field
          name="path"
          label="Directory on the server"
          required
          placeholder="/mnt/nvme0"
          hint="It must exist, better on a disk of its own."
        />
        <Field
          name="size"
          label="Size"
          placeholder="500 GiB"
          hint="Empty: nine tenths of what is free there."
        />
      </FormDialog>
    );
  }
  const { path } = asked.shelf;
  if (asked.what === "resize") {
    return (
      <FormDialog
        title={`Resize ${path}`}
        submit="Resize"
        onClose={close}
        onSubmit={async (form) => {
          const wanted = size(form);
          if (wanted === null) throw new FormError("a size is needed", "such as 500 GiB");
          await ask("POST", "cache/shelves/resize", { path, bytes: wanted });
          tell(`The shelf has ${bytes(wanted)} now`);
        }}
      >
        <Field
          name="size"
          label="Size"
          required
          value={exactBytes(asked.shelf.capacity_bytes)}
          hint="What fits stays."
        />
      </FormDialog>
    );
  }
  return (
    <FormDialog
      title={`Remove ${path}?`}
      submit="Remove"
      danger
      onClose={close}
      onSubmit={async () => {
        const { data } = await ask<{ left: string | null }>("POST", "cache/shelves/remove", { path });
        tell("The shelf is removed", data.left ?? "");
      }}
    >
      <p>
        What only this shelf has is fetched again when it is read. Drain it first, and it is copied to the
        others.
      </p>
    </FormDialog>
  );
}

function drain(shelf: Shelf): void {
  const { path } = shelf;
  if (shelf.state === "draining") {
    void attempt(`${path} takes blocks again`, () => ask("POST", "cache/shelves/undrain", { path }));
  } else {
    void attempt(`${path} is drained: see below`, () => ask("POST", "cache/shelves/drain", { path }));
  }
}

export function ShelvesCard() {
  const [asked, setAsked] = useState<Asked>(null);
  const shelves = status.value?.cache.shelves ?? [];
  return (
    <Card
      title="Shelves"
      actions={
        <Action needs="admin" kind="primary" onClick={() => setAsked({ what: "add" })}>
          Add a shelf
        </Action>
      }
    >
      {shelves.length === 0 ? (
        <Empty
          title="There is no L2."
          hint="Add a directory on a fast disk, and blocks that leave memory go there."
        />
      ) : (
        <Table
          label="Shelves"
          rows={shelves}
          id={(one) => one.path}
          columns={[
            { head: "Directory", cell: (one) => <code>{one.path}</code> },
            {
              head: "State",
              cell: (one) => (
                <>
                  <Pill tone={TONES[one.state] ?? "plain"}>{one.state}</Pill>{" "}
                  {one.why && <span class="muted small">{one.why}</span>}
                </>
              ),
            },
            {
              head: "Holds",
              cell: (one) => (
                <div class="used">
                  <span>
                    {bytes(one.bytes)} <span class="muted">of {bytes(one.capacity_bytes)}</span>
                  </span>
                  <Bar
                    share={one.capacity_bytes ? one.bytes / one.capacity_bytes : 0}
                    label={`${share(one.capacity_bytes ? one.bytes / one.capacity_bytes : 0)} full`}
                  />
                </div>
              ),
            },
            { head: "Hits", number: true, cell: (one) => count(one.hits) },
            {
              head: "Errors / damaged",
              number: true,
              cell: (one) => `${count(one.errors)} / ${count(one.damaged_blocks)}`,
            },
            {
              head: "Change",
              quiet: true,
              cell: (one) => (
                <div class="actions">
                  <Action
                    needs="admin"
                    label={`Resize ${one.path}`}
                    onClick={() => setAsked({ what: "resize", shelf: one })}
                  >
                    Resize
                  </Action>
                  <Action
                    needs="admin"
                    label={`${one.state === "draining" ? "Undo drain of" : "Drain"} ${one.path}`}
                    onClick={() => drain(one)}
                  >
                    {one.state === "draining" ? "Undo drain" : "Drain"}
                  </Action>
                  <Action
                    needs="admin"
                    kind="danger"
                    label={`Remove ${one.path}`}
                    onClick={() => setAsked({ what: "remove", shelf: one })}
                  >
                    Remove
                  </Action>
                </div>
              ),
            },
          ]}
        />
      )}
      <ShelfDialog asked={asked} close={() => setAsked(null)} />
    </Card>
  );
}
