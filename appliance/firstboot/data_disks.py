"""Brings the data disks into use: formats what is blank, mounts, and finds the state directory's disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from appliance.firstboot import layout
from appliance.firstboot.disks import Disk
from appliance.firstboot.host import Host, Paths
from appliance.firstboot.layout import Layout, Record, Use
from gateway import mirrors_file
from gateway.state import StateDir, write_atomically

log = structlog.get_logger(__name__)

RECORD: Final = "appliance.json"
STATE: Final = "state"
JOURNAL: Final = "journal"
SHELF: Final = "l2"


@dataclass(slots=True)
class Settled:
    """The disks in use. mounts: where each label's disk is. record: what is true from now on; it is on the disks unless
    `lost` says that the state directory has to come back first, beside the journal with that label. fresh: journals on
    disks that took the place of others, which the server has to be told are meant.
    """

    layout: Layout
    record: Record
    mounts: dict[str, Path] = field(default_factory=dict[str, Path])
    lost: str | None = None
    fresh: list[Path] = field(default_factory=list[Path])

    def journal(self, label: str) -> Path:
        return self.mounts[label] / JOURNAL

    def write_record(self) -> None:
        """Leaves the record on every journal disk that lacks it."""
        for use in self.layout.journals:
            file = self.mounts[use.label] / RECORD
            if not file.exists() or file.read_bytes() != self.record.encode():
                write_atomically(file, self.record.encode())


class DataDisks:
    """One look at the disks, and what follows from it."""

    def __init__(self, paths: Paths, host: Host) -> None:
        self._paths = paths
        self._host = host
        self._mounts: dict[str, Path] = {}

    def settle(self, *, wants_store: bool) -> Settled:
        """wants_store: the configuration names none. Raises LayoutError and HostError; what was done until then stays, and
        is found by the next run.
        """
        found = self._host.disks()
        journals = layout.find_journals(found)
        for use in journals:
            self._mount(use)
        record = self._newest_record(journals)
        if record:
            plan = layout.again(found, journals, record, self._given_up(record, journals))
        else:
            plan = self._first(found, journals, wants_store)
        for use in (*plan.journals, *plan.shelves, *([plan.store] if plan.store else [])):
            if use.format:
                log.warning("firstboot.format", device=use.disk.device, label=use.label)
                self._host.make_file_system(use.disk, use.label)
            self._mount(use)
        for use in plan.shelves:
            # The server makes none: where it is missing, the disk is not mounted.
            (self._mounts[use.label] / SHELF).mkdir(mode=0o700, exist_ok=True)
        served = [use.label for use in plan.journals if self._has_segments(use.label)]
        settled = self._with_state(plan, record, served)
        if not served:
            # Nothing would be taken back: the first start begins the journal on the disks that are there.
            plan.missing.clear()
        for label in plan.missing:
            self._close(label)
        settled.mounts = self._mounts
        unserved = [use.label for use in plan.journals if use.label not in served]
        settled.fresh = [settled.journal(label) for label in unserved if served]
        self._bind_state(self._mounts[settled.record.state] / STATE)
        if settled.lost is None:
            settled.write_record()
        return settled

    def _first(self, found: Sequence[Disk], journals: list[Use], wants_store: bool) -> Layout:
        """A set that was cut off between a disk's label and its record goes on from the disks that it has."""
        if not journals:
            return layout.first(found, wants_store=wants_store)
        size_bytes = journals[0].disk.size_bytes
        twins = [
            disk
            for disk in found
            if disk.contents.blank and not disk.ephemeral and disk.size_bytes == size_bytes
        ]
        mirrors = max(len(journals), min(2, len(journals) + len(twins)))
        store = layout.STORE if any(disk.contents.label == layout.STORE for disk in found) else ""
        return layout.again(found, journals, Record(mirrors, journals[0].label, store))

    def _mount(self, use: Use) -> None:
        point = self._point(use.label)
        point.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._host.mount(use.disk.device, point)
        self._host.give(point, 0o700)
        self._mounts[use.label] = point

    def _close(self, label: str) -> None:
        """Where a disk is away nothing may be written: a mirror on the system's disk would be none."""
        point = self._point(label)
        point.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._host.close(point)
        self._mounts[label] = point

    def _point(self, label: str) -> Path:
        return self._paths.data / label.removeprefix("caudal-")

    def _newest_record(self, journals: Sequence[Use]) -> Record | None:
        """A damaged record is as good as none: the twin has it, too."""
        found: list[Record] = []
        for use in journals:
            file = self._mounts[use.label] / RECORD
            if not file.exists():
                continue
            try:
                found.append(layout.parse_record(file.read_bytes()))
            except ValueError as error:
                log.warning("firstboot.record_damaged", file=str(file), why=str(error))
        return max(found, key=lambda record: record.serial, default=None)

    def _given_up(self, record: Record, journals: Sequence[Use]) -> frozenset[str]:
        """Labels of the mirrors that were taken out by hand, as far as the state directory is there to say so."""
        if record.state not in {use.label for use in journals}:
            return frozenset()
        changes = mirrors_file.read(StateDir(self._mounts[record.state] / STATE))
        labels = (f"{layout.JOURNAL}{number}" for number in range(record.mirrors))
        return frozenset(label for label in labels if str(self._point(label) / JOURNAL) in changes.removed)

    def _with_state(self, plan: Layout, record: Record | None, served: Sequence[str]) -> Settled:
        """Where the disk with the state directory is lost, another journal disk takes it."""
        labels = [use.label for use in plan.journals]
        if record is None:
            store = plan.store.label if plan.store else ""
            return Settled(plan, Record(len(labels), labels[0], store))
        if record.state in labels and (not served or self._has_identity(record.state)):
            return Settled(plan, record)
        if not served:
            # It never served: nothing stood in it.
            return Settled(plan, Record(record.mirrors, labels[0], record.store, record.serial + 1))
        fresh = Record(record.mirrors, served[0], record.store, record.serial + 1)
        return Settled(plan, fresh, lost=served[0])

    def _has_identity(self, label: str) -> bool:
        return (self._mounts[label] / STATE / "fs.json").exists()

    def _has_segments(self, label: str) -> bool:
        return any((self._mounts[label] / JOURNAL).glob("*.seg"))

    def _bind_state(self, directory: Path) -> None:
        directory.mkdir(mode=0o711, exist_ok=True)
        self._paths.state.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._host.bind(directory, self._paths.state)
