"""What a start made, so that a refused one can take it away again, and nothing else."""

import contextlib
import os
from pathlib import Path

from gateway.state import unusable, write_atomically


class Undo:
    """Makes directories and writes files, and remembers what was there before."""

    def __init__(self) -> None:
        self._directories: list[Path] = []
        self._cleared: list[Path] = []
        self._files: dict[Path, bytes | None] = {}

    def directory(self, path: Path, *, ours: bool = False) -> None:
        """Makes a directory that is missing. `ours`: what stands in it later came of this start, too.

        Raises StartError where it cannot be made.
        """
        missing = [entry for entry in (path, *path.parents) if not entry.exists()]
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(path, error) from error
        self._directories.extend(reversed(missing))
        if ours and path in missing:
            self._cleared.append(path)

    def write(self, path: Path, data: bytes) -> None:
        """Writes a file."""
        self.remember(path)
        write_atomically(path, data)

    def remember(self, path: Path) -> None:
        """Takes note of a file before somebody else writes it."""
        if path not in self._files:
            self._files[path] = path.read_bytes() if path.exists() else None

    def run(self, *, keep_logs: bool) -> None:
        """Puts everything back. With `keep_logs` what came to stand in our directories stays, to be read."""
        for path, before in self._files.items():
            if before is None:
                path.unlink(missing_ok=True)
            else:
                write_atomically(path, before)
        if not keep_logs:
            for directory in self._cleared:
                _clear(directory)
        for directory in reversed(self._directories):
            # One that is not empty holds what others made.
            with contextlib.suppress(OSError):
                directory.rmdir()


def _clear(directory: Path) -> None:
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            Path(folder, name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
