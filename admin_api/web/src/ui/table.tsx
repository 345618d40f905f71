// Tables that become lists of cards where there is little room.
import type { ComponentChildren } from "preact";

export interface Column<T> {
  head: string;
  cell: (row: T) => ComponentChildren;
  /** Numbers stand at the right. */
  number?: boolean;
  /** Of buttons: without a visible head. */
  quiet?: boolean;
}

export function Table<T>(props: {
  label: string;
  rows: T[];
  columns: Column<T>[];
  id: (row: T) => string | number;
}) {
  return (
    <table aria-label={props.label}>
      <thead>
        <tr>
          {props.columns.map((column) => (
            <th scope="col" key={column.head} class={column.number ? "number" : ""}>
              {column.quiet ? <span class="hidden">{column.head}</span> : column.head}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {props.rows.map((row) => (
          <tr key={props.id(row)}>
            {props.columns.map((column) => (
              <td
                key={column.head}
                class={column.quiet ? "quiet" : column.number ? "number" : ""}
                data-label={column.quiet ? "" : column.head}
              >
                <div class="cell">{column.cell(row)}</div>
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
