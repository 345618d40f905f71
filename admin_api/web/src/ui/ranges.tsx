// Buttons of which one is chosen: the time that something shows.
import type { ComponentChildren } from "preact";

export function Ranges<T extends { label: string }>(props: {
  /** Read to who does not see the buttons. */
  legend: string;
  options: T[];
  is: (one: T) => boolean;
  choose: (one: T) => void;
  children?: ComponentChildren;
}) {
  return (
    <fieldset class="ranges">
      <legend class="hidden">{props.legend}</legend>
      {props.options.map((one) => (
        <button type="button" key={one.label} aria-pressed={props.is(one)} onClick={() => props.choose(one)}>
          {one.label}
        </button>
      ))}
      {props.children}
    </fieldset>
  );
}
