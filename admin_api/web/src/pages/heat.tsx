// What is used most just now: the files that are read, and the directories that bytes go to and come from.
import { byteRate, share } from "../format";
import { useResource } from "../resource";
import type { Activity } from "../types";
import { Bar, Card, Empty, Loaded } from "../ui/bits";
import { Table } from "../ui/table";

interface Hot {
  inode: number;
  path: string | null;
  byte_rate: number;
}

function HeatTable(props: { label: string; of: string; moved: string; rows: Hot[] }) {
  const rows = props.rows.filter((one) => one.byte_rate > 0).sort((a, b) => b.byte_rate - a.byte_rate);
  const most = rows[0]?.byte_rate ?? 1;
  if (rows.length === 0) return <Empty title="Nothing is used just now." />;
  return (
    <Table
      label={props.label}
      rows={rows}
      id={(one) => one.inode}
      columns={[
        { head: props.of, cell: (one) => <code>{one.path ?? `inode ${one.inode}`}</code> },
        {
          head: "Heat",
          cell: (one) => <Bar share={one.byte_rate / most} label={share(one.byte_rate / most)} />,
        },
        { head: props.moved, number: true, cell: (one) => byteRate(one.byte_rate) },
      ]}
    />
  );
}

export function HeatCards() {
  const activity = useResource<Activity>("activity?most=10", 3);
  return (
    <div class="grid two">
      <Card title="Hottest files">
        <Loaded of={activity}>
          {({ files }) => (
            <HeatTable
              label="Hottest files"
              of="File"
              moved="Read"
              rows={files.map((one) => ({ ...one, byte_rate: one.read_bytes }))}
            />
          )}
        </Loaded>
      </Card>
      <Card title="Hottest directories">
        <Loaded of={activity}>
          {({ directories }) => (
            <HeatTable
              label="Hottest directories"
              of="Directory"
              moved="Read and written"
              rows={directories.map((one) => ({ ...one, byte_rate: one.bytes }))}
            />
          )}
        </Loaded>
      </Card>
    </div>
  );
}
