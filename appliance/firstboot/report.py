"""What is missing, for the admin page and for people who log in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.state import write_atomically


class Problem(msgspec.Struct, frozen=True):
    """One thing that keeps files from being served. part: configuration, disks, store or system."""

    part: str
    text: str
    hint: str


@dataclass(slots=True)
class Report:
    """How a boot went. Ready: there are no problems."""

    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[str] = field(default_factory=list[str])

    @property
    def ready(self) -> bool:
        return not self.problems

    def fields(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            "problems": [msgspec.to_builtins(problem) for problem in self.problems],
            "notes": self.notes,
        }

    def write(self, file: Path) -> None:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(file, msgspec.json.encode(self.fields()) + b"\n", 0o644)


def read(file: Path) -> dict[str, Any]:
    """What was last written; that nothing was, where there is no such file or it is damaged."""
    try:
        found = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError):
        found = None
    if isinstance(found, dict):
        return found  # pyright: ignore[reportUnknownVariableType]
    return {"ready": False, "problems": [], "notes": ["first boot has not got so far yet"]}
