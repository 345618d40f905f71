"""Journal mirrors that were taken in or out by hand: mirrors.json of the state directory.

A configuration that is written anew at each start, or an older file that is given to it, knows nothing of them. So each `up`
changes what its configuration says by this file. docs/formats/mirrors.md is its description.
"""

from pathlib import Path
from typing import Final

import msgspec

from gateway import kept_file
from gateway.config import Config
from gateway.state import StateDir, write_atomically

FORMAT: Final = 1
REMEDY: Final = "`caudal journal mirror add` and `remove` say anew what was changed by hand"


class Changes(msgspec.Struct, frozen=True):
    """added, removed: absolute paths; none is in both."""

    format: int = FORMAT
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def with_added(self, path: Path, configured: tuple[Path, ...]) -> "Changes":
        """configured: what the configuration that is in force names; what it names needs no addition."""
        others, back = _without(self.added, path), _without(self.removed, path)
        is_ours = str(path) in self.added or path not in configured
        return Changes(added=(*others, str(path)) if is_ours else others, removed=back)

    def with_removed(self, path: Path) -> "Changes":
        return Changes(added=_without(self.added, path), removed=(*_without(self.removed, path), str(path)))

    def over(self, configured: tuple[Path, ...]) -> tuple[Path, ...]:
        """The mirrors of a start. A configuration that names nothing but what was removed means it."""
        removed = {Path(path) for path in self.removed}
        kept = tuple(path for path in configured if path not in removed)
        added = tuple(Path(path) for path in self.added if Path(path) not in configured)
        return (*kept, *added) or configured


def file_of(state: StateDir) -> Path:
    return state.root / "mirrors.json"


def read(state: StateDir) -> Changes:
    """What was changed; nothing where there is no file. Raises StartError for a newer or damaged one: a mirror that is
    forgotten would be missed by nobody.
    """
    fields = kept_file.read_fields(file_of(state), FORMAT, REMEDY)
    if fields is None:
        return Changes()
    try:
        found = msgspec.convert(fields, Changes)
        if not all(Path(path).is_absolute() for path in (*found.added, *found.removed)):
            raise ValueError("a path is not absolute")
    except kept_file.DAMAGED as error:
        raise kept_file.damaged(file_of(state), REMEDY) from error
    return found


def write(state: StateDir, changes: Changes) -> None:
    """Keeps it; durable when this returns."""
    write_atomically(file_of(state), msgspec.json.format(msgspec.json.encode(changes), indent=1) + b"\n")


def applied(config: Config) -> Config:
    """The configuration of a start with what was changed by hand. Raises StartError as `read` does."""
    journal = read(StateDir(config.state)).over(config.journal)
    return config if journal == config.journal else config.with_journal(journal)


def _without(paths: tuple[str, ...], path: Path) -> tuple[str, ...]:
    return tuple(known for known in paths if Path(known) != path)
