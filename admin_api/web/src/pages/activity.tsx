// Who uses the file system most just now, and what.
import { byteRate, duration, perSecond } from "../format";
import { useResource } from "../resource";
import type { Activity } from "../types";
import { Card, Empty, Heading, Loaded, Stat, Stats } from "../ui/bits";
import { type Column, Table } from "../ui/table";
import { OperationsCard } from "./operations";

interface Used {
  reads: number;
  writes: number;
  names: number;
  read_bytes: number;
  written_bytes: number;
}

function columns<T extends Used>(): Column<T>[] {
  return [
    { head: "Read", number: true, cell: (one) => byteRate(one.read_bytes) },
    { head: "Written", number: true, cell: (one) => byteRate(one.written_bytes) },
    { head: "Reads", number: true, cell: (one) => perSecond(one.reads) },
    { head: "Writes", number: true, cell: (one) => perSecond(one.writes) },
    { head: "Names", number: true, cell: (one) => perSecond(one.names) },
  ];
}

const HINT = "Figures fade by half in half a minute: what was done before is gone from here.";

export function ActivityPage() {
  const activity = useResource<Activity>("activity?most=20", 2);
  return (
    <>
      <Heading
        title="Activity"
        about="The clients, files and directories that are used most just now, estimated from some of the operations."
      />
      <Loaded of={activity} lines={8}>
        {({ all, clients, files, directories, half_life_s }) => (
          <>
            <Card title="All together">
              <Stats>
                <Stat label="Read" value={byteRate(all.read_bytes)} note={`${perSecond(all.reads)} reads`} />
                <Stat
                  label="Written"
                  value={byteRate(all.written_bytes)}
                  note={`${perSecond(all.writes)} writes`}
                />
                <Stat label="Names" value={perSecond(all.names)} note="looked up, made, changed" />
                <Stat label="Fades by half in" value={duration(half_life_s)} />
              </Stats>
            </Card>
            <Card title="Clients">
              {clients.length === 0 ? (
                <Empty title="No client does anything just now." hint={HINT} />
              ) : (
                <Table
                  label="Clients"
                  rows={clients}
                  id={(one) => one.address}
                  columns={[
                    { head: "Client", cell: (one) => <code>{one.address}</code> },
                    ...columns<(typeof clients)[0]>(),
                  ]}
                />
              )}
            </Card>
            <Card title="Files">
              {files.length === 0 ? (
                <Empty title="No file is used just now." hint={HINT} />
              ) : (
                <Table
                  label="Files"
                  rows={files}
                  id={(one) => one.inode}
                  columns={[
                    { head: "File", cell: (one) => <code>{one.path ?? `inode ${one.inode}`}</code> },
                    ...columns<(typeof files)[0]>(),
                  ]}
                />
              )}
            </Card>
            <Card title="Directories">
              {directories.length === 0 ? (
                <Empty title="No directory is used just now." hint={HINT} />
              ) : (
                <Table
                  label="Directories"
                  rows={directories}
                  id={(one) => one.inode}
                  columns={[
                    { head: "Directory", cell: (one) => <code>{one.path ?? `inode ${one.inode}`}</code> },
                    { head: "Operations", number: true, cell: (one) => perSecond(one.operations) },
                    { head: "Bytes", number: true, cell: (one) => byteRate(one.bytes) },
                  ]}
                />
              )}
            </Card>
          </>
        )}
      </Loaded>
      <OperationsCard title="Operations of the server" />
    </>
  );
}
