// The tree browser: a directory's entries with what is below them; directories first, of each the largest.
import { useState } from "preact/hooks";
import { read } from "../api";
import { bytes, count, share } from "../format";
import { useLoaded } from "../resource";
import type { Quota, Tree } from "../types";
import { Action } from "../ui/action";
import { Bar, Card, Empty, Loaded } from "../ui/bits";
import { Table } from "../ui/table";

const MOST = 1000;
const SHOWN = 30;

/** A directory with its entries, up to MOST of them. more: there are others. */
async function whole(path: string): Promise<{ tree: Tree; more: boolean }> {
  const query = `tree?path=${encodeURIComponent(path)}&limit=200`;
  const tree = await read<Tree>(query);
  let cursor = tree.next_cursor;
  while (cursor && tree.items.length < MOST) {
    const next: Tree = await read<Tree>(`${query}&cursor=${encodeURIComponent(cursor)}`);
    tree.items.push(...next.items);
    cursor = next.next_cursor;
  }
  tree.items.sort(
    (a, b) =>
      Number(b.is_directory) - Number(a.is_directory) ||
      b.allocated_bytes - a.allocated_bytes ||
      (a.name < b.name ? -1 : 1),
  );
  return { tree, more: Boolean(cursor) };
}

function address(path: string): string {
  return `#/quotas${path.split("/").map(encodeURIComponent).join("/")}`;
}

function Crumbs({ path, tops }: { path: string; tops: string[] }) {
  const top = tops.filter((one) => path === one || path.startsWith(`${one}/`)).at(0) ?? path;
  const below = path.slice(top.length).split("/").filter(Boolean);
  const places = [top, ...below.map((_, index) => `${top}/${below.slice(0, index + 1).join("/")}`)];
  return (
    <nav class="crumbs" aria-label="Path">
      {places.map((place, index) => (
        <span key={place}>
          {index > 0 && <span aria-hidden="true"> / </span>}
          {place === path ? (
            <b aria-current="page">{index === 0 ? place : below[index - 1]}</b>
          ) : (
            <a href={address(place)}>{index === 0 ? place : below[index - 1]}</a>
          )}
        </span>
      ))}
      {tops.length > 1 && (
        <span class="tops">
          {tops
            .filter((one) => one !== top)
            .map((one) => (
              <a key={one} href={address(one)}>
                {one}
              </a>
            ))}
        </span>
      )}
    </nav>
  );
}

export function TreeCard(props: {
  path: string;
  tops: string[];
  quotas: Quota[];
  limit: (path: string, before: Quota | null) => void;
}) {
  const [all, setAll] = useState(false);
  const found = useLoaded(props.path, () => whole(props.path), 3);
  return (
    <Card title="What directories hold">
      <Crumbs path={props.path} tops={props.tops} />
      <Loaded of={found} lines={6}>
        {({ tree, more }) => (
          <>
            <p class="muted">
              {bytes(tree.allocated_bytes)} in {count(tree.files)} files and {count(tree.directories)}{" "}
              directories, as of the files' last flush.
            </p>
            {tree.items.length === 0 ? (
              <Empty title="The directory is empty." />
            ) : (
              <Table
                label="Entries"
                rows={all ? tree.items : tree.items.slice(0, SHOWN)}
                id={(one) => one.id}
                columns={[
                  {
                    head: "Name",
                    cell: (one) =>
                      one.is_directory ? (
                        <a href={address(`${props.path}/${one.name}`)}>{one.name}/</a>
                      ) : (
                        <span>{one.name}</span>
                      ),
                  },
                  {
                    head: "Share",
                    cell: (one) => {
                      const part = tree.allocated_bytes ? one.allocated_bytes / tree.allocated_bytes : 0;
                      return <Bar share={part} label={share(part)} />;
                    },
                  },
                  { head: "Bytes", number: true, cell: (one) => bytes(one.allocated_bytes) },
                  {
                    head: "Files",
                    number: true,
                    cell: (one) => (one.is_directory ? count(one.files) : ""),
                  },
                  {
                    head: "Limit",
                    quiet: true,
                    cell: (one) => {
                      if (!one.is_directory) return null;
                      const path = `${props.path}/${one.name}`;
                      const before = props.quotas.find((quota) => quota.id === one.id) ?? null;
                      return (
                        <Action
                          needs="operator"
                          label={before ? `Change quota of ${path}` : `Set quota on ${path}`}
                          onClick={() => props.limit(path, before)}
                        >
                          {before ? "Change quota" : "Set quota"}
                        </Action>
                      );
                    },
                  },
                ]}
              />
            )}
            {tree.items.length > SHOWN && (
              <div class="form-end">
                <button type="button" onClick={() => setAll(!all)}>
                  {all ? `Show ${SHOWN}` : `Show all ${tree.items.length}`}
                </button>
              </div>
            )}
            {more && <p class="muted small">The first {count(MOST)} entries are shown; there are more.</p>}
          </>
        )}
      </Loaded>
    </Card>
  );
}
