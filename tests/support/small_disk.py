"""A small disk of its own: a tmpfs in the test run's mount namespace, which can be filled and emptied."""

import errno
import os
import subprocess
from pathlib import Path
from typing import Self

FILLER = "filler"


class SmallDisk:
    """Mounted at `path` while the context lasts."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path, self._size_bytes = path, size_bytes

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        options = f"size={self._size_bytes},mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(self.path)], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    @property
    def free_bytes(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self) -> None:
        """Another program takes all that is left, whoever else takes from it meanwhile."""
        with (self.path / FILLER).open("ab") as file:
            while free := self.free_bytes:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def relieve(self) -> None:
        """The other program's file goes."""
        (self.path / FILLER).unlink()
