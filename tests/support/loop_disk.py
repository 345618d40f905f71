"""A disk of its own with ext4: a file behind a loop device, which can fail, hang, come back and be slow."""

import subprocess
from pathlib import Path
from typing import Self

from tests.support.processes import wait_until

# Of the machine: what it says of a device holds for everybody's writes.
WRITE_LIMIT = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")


class LoopDisk:
    """Mounted at `path` while the context lasts; its bytes lie in the file `backing`."""

    def __init__(self, path: Path, backing: Path, size_bytes: int) -> None:
        self.path, self._backing, self._size_bytes = path, backing, size_bytes
        self.device = ""
        self._frozen = self._limited = False

    def __enter__(self) -> Self:
        with self._backing.open("wb") as file:
            file.truncate(self._size_bytes)
        self.device = self._run("losetup", "--find", "--show", self._backing).strip()
        try:
            self._run("mkfs.ext4", "-q", self.device)
            self.path.mkdir(parents=True, exist_ok=True)
            self._mount()
        except BaseException:
            self._run("losetup", "--detach", self.device)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._frozen:
            self.answer()
        if self._limited:
            self.limit(0)
        self._run("umount", "--lazy", self.path)
        # Takes effect when the last file on it is closed.
        self._run("losetup", "--detach", self.device)
        self._backing.unlink()

    def fail(self) -> None:
        """As after an error of the device: nothing can be written any more."""
        self._run("mount", "-o", "remount,abort", self.path)

    def repair(self) -> None:
        """Unmounts, which needs that nobody has a file open there, checks and mounts again."""
        wait_until(
            lambda: subprocess.run(["umount", self.path], check=False).returncode == 0, "unmounting", 20
        )
        checked = subprocess.run(["e2fsck", "-p", self.device], capture_output=True, text=True, check=False)
        # 1: it corrected something.
        assert checked.returncode in (0, 1), checked.stdout
        self._mount()

    def hang(self) -> None:
        """Whoever writes to it waits."""
        self._run("fsfreeze", "--freeze", self.path)
        self._frozen = True

    def answer(self) -> None:
        """Goes on after a hang."""
        self._run("fsfreeze", "--unfreeze", self.path)
        self._frozen = False

    def limit(self, bytes_s: int) -> None:
        """It takes no more than so many bytes a second; 0: what it can. Raises OSError where the kernel cannot do that."""
        number = Path("/sys/class/block", Path(self.device).name, "dev").read_text().strip()
        WRITE_LIMIT.write_text(f"{number} {bytes_s}\n")
        self._limited = bytes_s > 0

    def _mount(self) -> None:
        self._run("mount", self.device, self.path)

    @staticmethod
    def _run(*command: str | Path) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
