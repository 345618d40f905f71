"""A disk of its own, blank or with ext4: a file behind a loop device, which can fail, hang, come back and be slow."""

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.support.processes import wait_until

# Of the machine: what it says of a device holds for everybody's writes.
WRITE_LIMIT = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")


def run(*command: str | Path, stdin: str | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, input=stdin).stdout


class LoopDevice:
    """A blank block device at `device` while the context lasts; its bytes lie in the file `backing`."""

    def __init__(self, backing: Path, size_bytes: int) -> None:
        self._backing, self._size_bytes = backing, size_bytes
        self._away = backing.with_suffix(".away")
        self.device = ""

    def __enter__(self) -> Self:
        with self._backing.open("wb") as file:
            file.truncate(self._size_bytes)
        self.device = run("losetup", "--find", "--show", self._backing).strip()
        return self

    def __exit__(self, *_: object) -> None:
        # Takes effect when the last file on it is closed.
        run("losetup", "--detach", self.device)
        self._backing.unlink()
        self._away.unlink(missing_ok=True)

    def take_away(self) -> None:
        """What was on it cannot be read any more."""
        run("cp", "--sparse=always", self._backing, self._away)
        os.truncate(self._backing, 0)

    def bring_back(self) -> None:
        """As it was before it was taken away."""
        run("dd", f"if={self._away}", f"of={self._backing}", "bs=1M", "conv=notrunc,sparse", "status=none")
        os.truncate(self._backing, self._size_bytes)
        self.forget()

    def damage(self, first: int, step: int) -> None:
        """Flips a bit in every `step` bytes from `first` on."""
        with self._backing.open("r+b") as file:
            for at in range(first, self._size_bytes, step):
                byte = os.pread(file.fileno(), 1, at)
                os.pwrite(file.fileno(), bytes([byte[0] ^ 0x04]), at)
        self.forget()

    def forget(self) -> None:
        """What the kernel remembers of it is read again."""
        run("blockdev", "--flushbufs", self.device)


class LoopDisk:
    """Mounted at `path` while the context lasts; its bytes lie in the file `backing`."""

    def __init__(self, path: Path, backing: Path, size_bytes: int) -> None:
        self.path = path
        self._loop = LoopDevice(backing, size_bytes)
        self._frozen = self._limited = False

    @property
    def device(self) -> str:
        return self._loop.device

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._loop)
            run("mkfs.ext4", "-q", self.device)
            self.path.mkdir(parents=True, exist_ok=True)
            self._mount()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if self._frozen:
            self.answer()
        if self._limited:
            self.limit(0)
        run("umount", "--lazy", self.path)
        self._loop.__exit__()

    def fail(self) -> None:
        """As after an error of the device: nothing can be written any more."""
        run("mount", "-o", "remount,abort", self.path)

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
        run("fsfreeze", "--freeze", self.path)
        self._frozen = True

    def answer(self) -> None:
        """Goes on after a hang."""
        run("fsfreeze", "--unfreeze", self.path)
        self._frozen = False

    def limit(self, bytes_s: int) -> None:
        """It takes no more than so many bytes a second; 0: what it can. Raises OSError where the kernel cannot do that."""
        number = Path("/sys/class/block", Path(self.device).name, "dev").read_text().strip()
        WRITE_LIMIT.write_text(f"{number} {bytes_s}\n")
        self._limited = bytes_s > 0

    def _mount(self) -> None:
        run("mount", self.device, self.path)
