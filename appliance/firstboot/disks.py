"""The machine's disks, as sysfs and the disks' own first bytes show them. Nothing here changes anything."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SECTOR_BYTES: Final = 512
# What is no disk of its own, or is taken out at will.
_NOT_DISKS: Final = re.compile(r"(loop|ram|zram|sr|fd|dm-|md|nbd|mtd)")
# Azure's SCSI controllers for data disks; the one before them has the system's disk and the one that is lost at each stop.
_AZURE_SYSTEM: Final = re.compile(r"/\{?f8b3781a-", re.IGNORECASE)
_AZURE_DATA: Final = re.compile(r"/\{?f8b3781[bcd]-", re.IGNORECASE)
_AZURE_GEN1: Final = re.compile(r"/\{?00000000-000[01]-", re.IGNORECASE)
_AZURE_LOCAL: Final = "Microsoft NVMe Direct Disk"
_AZURE_REMOTE: Final = "MSFT NVMe Accelerator"
# Of Azure's remote NVMe disks the system's has number 1, data disks follow from 2 on.
_FIRST_DATA_NSID: Final = 2
# Encrypted data has no signature, but is not zeros either.
_HEAD_BYTES: Final = 4 << 20
_TAIL_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Contents:
    """What is on a disk. blank: no signature, no partition, and zeros at both ends."""

    label: str
    kind: str
    blank: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk that may be ours. ephemeral: its contents are lost when the machine is stopped. lun: Azure's number."""

    name: str
    size_bytes: int
    nvme: bool
    ephemeral: bool
    lun: int | None
    contents: Contents

    @property
    def device(self) -> str:
        return f"/dev/{self.name}"

    @property
    def order(self) -> tuple[bool, int, int, str]:
        """Azure's numbers first, in their order; then by name, sdb before sdaa."""
        return (self.lun is None, self.lun or 0, len(self.name), self.name)


Probe = Callable[[str, int], Contents]
"""Looks at a device (its path, its size in bytes)."""


def scan(sysfs: Path, root_device: str, probe: Probe) -> list[Disk]:
    """Every disk except the system's, and those that the cloud keeps for itself.

    root_device: MAJOR:MINOR of the file system at /. Raises OSError where sysfs cannot be read.
    """
    found: list[Disk] = []
    for entry in sorted((sysfs / "block").iterdir()):
        if _NOT_DISKS.match(entry.name) or _text(entry / "removable") == "1" or _text(entry / "ro") == "1":
            continue
        size_bytes = int(_text(entry / "size") or 0) * SECTOR_BYTES
        place = str((entry / "device").resolve()) + "/"
        if not size_bytes or _holds(entry, root_device) or _is_systems(entry, place):
            continue
        model = _text(entry / "device/model")
        partitions = any((child / "partition").exists() for child in entry.iterdir() if child.is_dir())
        holders = entry / "holders"
        taken = partitions or (holders.is_dir() and any(holders.iterdir()))
        contents = Contents("", "in use", blank=False) if taken else probe(f"/dev/{entry.name}", size_bytes)
        found.append(
            Disk(
                name=entry.name,
                size_bytes=size_bytes,
                nvme=entry.name.startswith("nvme") and not model.startswith(_AZURE_REMOTE),
                ephemeral=model.startswith(_AZURE_LOCAL),
                lun=_lun(entry, place, model),
                contents=contents,
            )
        )
    return sorted(found, key=lambda disk: disk.order)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _holds(entry: Path, root_device: str) -> bool:
    """Whether the disk, or a partition of it, is the system's."""
    numbers = [entry / "dev", *(child / "dev" for child in entry.iterdir() if child.is_dir())]
    return any(_text(number) == root_device for number in numbers)


def _is_systems(entry: Path, place: str) -> bool:
    if _AZURE_SYSTEM.search(place) or _AZURE_GEN1.search(place):
        return True
    remote = _text(entry / "device/model").startswith(_AZURE_REMOTE)
    return remote and int(_text(entry / "nsid") or 0) < _FIRST_DATA_NSID


def _lun(entry: Path, place: str, model: str) -> int | None:
    if _AZURE_DATA.search(place):
        last = place.rstrip("/").rsplit("/", 1)[-1].split(":")
        return int(last[3]) if len(last) == 4 and last[3].isdigit() else None
    if model.startswith(_AZURE_REMOTE):
        return int(_text(entry / "nsid") or _FIRST_DATA_NSID) - _FIRST_DATA_NSID
    return None


def look(device: str, size_bytes: int) -> Contents:
    """The probe of real machines: blkid's word, and where it finds nothing, the bytes themselves."""
    command = ["blkid", "--probe", "--output", "export", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    fields = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if done.returncode == 0:
        return Contents(fields.get("LABEL", ""), fields.get("TYPE", fields.get("PTTYPE", "?")), blank=False)
    # 2: nothing found. Everything else (ambivalent signatures, errors) is somebody's data.
    return Contents("", "", blank=done.returncode == 2 and _is_zero(device, size_bytes))


def _is_zero(device: str, size_bytes: int) -> bool:
    with Path(device).open("rb") as file:
        for start, length in ((0, _HEAD_BYTES), (max(0, size_bytes - _TAIL_BYTES), _TAIL_BYTES)):
            file.seek(start)
            if any(file.read(min(length, size_bytes))):
                return False
    return True
