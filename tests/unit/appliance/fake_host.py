"""A machine whose disks are directories: what was formatted, mounted and started is on record."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from appliance.firstboot.disks import Disk
from appliance.firstboot.host import HostError
from tests.unit.appliance.sysfs import GIB, labelled


class FakeHost:
    """platters: where the contents of disks are, by label, also while they are not attached."""

    def __init__(self, root: Path, disks: Sequence[Disk]) -> None:
        self.attached = {disk.name: disk for disk in disks}
        self.formatted: list[tuple[str, str]] = []
        self.started: list[str] = []
        self.restarted: list[str] = []
        self.closed: list[str] = []
        self.recovered: list[tuple[str, str]] = []
        self.fail_recover = ""
        self.loopback: tuple[str, int, Path] | None = None
        self._platters = root / "platters"
        self._mounted: dict[Path, Path] = {}

    def reboot(self) -> None:
        for point in reversed(list(self._mounted)):
            point.unlink()
            point.mkdir()
        self._mounted.clear()
        self.started.clear()
        self.closed.clear()
        self.formatted.clear()

    def disks(self) -> list[Disk]:
        return list(self.attached.values())

    def make_file_system(self, disk: Disk, label: str) -> None:
        if not self.attached[disk.name].contents.blank:
            raise HostError(f"{disk.device} is not blank any more")
        self.attached[disk.name] = replace(disk, contents=labelled(label))
        self.formatted.append((disk.name, label))
        shutil.rmtree(self._platters / disk.name, ignore_errors=True)
        (self._platters / disk.name).mkdir(parents=True)

    def mount(self, device: str, point: Path) -> None:
        self._link(self._platters / device.removeprefix("/dev/"), point)

    def close(self, point: Path) -> None:
        self.closed.append(point.name)

    def bind(self, directory: Path, point: Path) -> None:
        self._link(directory, point)

    def define_loopback(self, export: str, port: int, point: Path) -> None:
        self.loopback = (export, port, point)

    def _link(self, target: Path, point: Path) -> None:
        if point in self._mounted:
            assert self._mounted[point] == target
            return
        point.rmdir()
        point.symlink_to(target)
        self._mounted[point] = target

    def give(self, path: Path, mode: int, *, owner: bool = False, group: bool = False) -> None:
        path.chmod(mode)

    def recover(self, config: Path, store: str, state: Path, journals: Sequence[Path]) -> None:
        if self.fail_recover:
            raise HostError(self.fail_recover)
        self.recovered.append((store, ", ".join(journal.parent.name for journal in journals)))
        (state / "fs.json").write_text("{}")

    def start(self, unit: str) -> None:
        self.started.append(unit)

    def restart_if_running(self, unit: str) -> None:
        self.restarted.append(unit)

    def size_bytes(self, path: Path) -> int:
        return 64 * GIB

    def memory_bytes(self) -> int:
        return 16 * GIB
