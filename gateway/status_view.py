"""Status and reports for people: tables from what the control operations return."""

from collections.abc import Mapping
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway.config_values import human

MAX_PROBLEMS_SHOWN = 50


def render(status: Mapping[str, Any]) -> RenderableType:
    """The status as one small table per part; single values together come first."""
    plain = {key: value for key, value in status.items() if not isinstance(value, Mapping)}
    parts: dict[str, object] = {"server": plain} if plain else {}
    parts |= {key: value for key, value in status.items() if key not in plain}
    return Group(*(_part(name, value) for name, value in parts.items()))


def _part(name: str, value: object) -> RenderableType:
    table = Table(
        title=name, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2)
    )
    table.add_column(style="dim")
    table.add_column()
    for key, item in flatten(value):
        table.add_row(escape(key), escape(item))
    return table


def flatten(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as rows of (dotted key, text for people)."""
    if isinstance(value, Mapping):
        rows: list[tuple[str, str]] = []
        for key, item in cast("Mapping[str, object]", value).items():
            rows += flatten(item, f"{prefix}.{key}" if prefix else str(key))
        return rows
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        if any(isinstance(item, Mapping) for item in items):
            return [row for at, item in enumerate(items) for row in flatten(item, f"{prefix}[{at}]")]
        return [(prefix, ", ".join(str(item) for item in items))]
    return [(prefix, _text(prefix, value))]


def _text(key: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and key.endswith("bytes"):
        return human(value)
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def render_fsck(report: Mapping[str, Any]) -> RenderableType:
    """A report of fsck: what was counted, what is wrong, and the verdict."""
    problems = cast("list[object]", report.get("problems", []))
    counted = {key: value for key, value in report.items() if key not in ("clean", "problems")}
    lines: list[RenderableType] = [_part("checked", counted)]
    lines += [Text(f"  {_problem(problem)}") for problem in problems[:MAX_PROBLEMS_SHOWN]]
    if len(problems) > MAX_PROBLEMS_SHOWN:
        lines.append(Text(f"  and {len(problems) - MAX_PROBLEMS_SHOWN} more"))
    verdict = Text("clean", style="bold green") if report.get("clean") else Text("damaged", style="bold red")
    return Group(*lines, verdict)


def _problem(problem: object) -> str:
    if isinstance(problem, Mapping):
        return ", ".join(f"{key} {value}" for key, value in cast("Mapping[str, object]", problem).items())
    return str(problem)
