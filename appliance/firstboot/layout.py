"""Which disk becomes what: pure decisions over what was found, so that every case can be a test.

Labels say what a disk is from then on, whatever its name at the next boot. Only blank disks are ever formatted.
A set of disks has a record, on each of its journal disks: how many mirrors there are to be, which of them holds the state
directory, where a directory store lies.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, cast

from appliance.firstboot.disks import Disk

JOURNAL: Final = "caudal-journal"
L2: Final = "caudal-l2-"
STORE: Final = "caudal-store"
MAX_JOURNALS: Final = 8
MAX_SHELVES: Final = 16
MIN_JOURNAL_BYTES: Final = 512 << 20
RECORD_FORMAT: Final = 1


class LayoutError(Exception):
    """The disks do not do; the message says why, `hint` what would."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Record:
    """What the journal disks remember of their set. serial: the highest is the newest. state: the label of the journal disk
    with the state directory; store: the label of the disk with a directory store, empty where there is none.
    """

    mirrors: int
    state: str
    store: str
    serial: int = 1

    def encode(self) -> bytes:
        return json.dumps({"format": RECORD_FORMAT, **asdict(self)}).encode() + b"\n"


def parse_record(data: bytes) -> Record:
    """Raises LayoutError for one that a later version wrote, ValueError for what is none."""
    fields: Any = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("not a record")
    known = cast("dict[str, Any]", fields)
    if known.get("format") != RECORD_FORMAT:
        raise LayoutError(
            "the data disks were laid out by a later version", "boot that version or a newer one with them"
        )
    try:
        mirrors, serial = int(known["mirrors"]), int(known["serial"])
        state, store = str(known["state"]), str(known["store"])
    except (KeyError, TypeError) as error:
        raise ValueError("not a record") from error
    if not 1 <= mirrors <= MAX_JOURNALS:
        raise ValueError("not a record")
    return Record(mirrors, state, store, serial)


@dataclass(frozen=True, slots=True)
class Use:
    """A disk and the label it has, or gets where it is still blank."""

    disk: Disk
    label: str

    @property
    def format(self) -> bool:
        return self.disk.contents.blank


@dataclass(slots=True)
class Layout:
    """What the disks are. shelves: of the cache on disk. missing: labels of journal mirrors whose disks are away.
    notes: what people should know of and need not act on at once.
    """

    journals: list[Use]
    shelves: list[Use] = field(default_factory=list[Use])
    store: Use | None = None
    missing: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


def find_journals(disks: Sequence[Disk]) -> list[Use]:
    """The disks that are journal mirrors already, by label. Raises LayoutError where two have the same."""
    found: dict[str, Disk] = {}
    for disk in disks:
        label = disk.contents.label
        if label != STORE and not label.startswith((JOURNAL, L2)):
            continue
        if label in found:
            raise LayoutError(
                f"{found[label].device} and {disk.device} are both labelled {label}",
                "detach the one that does not belong to this machine",
            )
        found[label] = disk
    return [Use(disk, label) for label, disk in sorted(found.items()) if label.startswith(JOURNAL)]


def first(disks: Sequence[Disk], *, wants_store: bool) -> Layout:
    """The layout of a machine without a journal yet. wants_store: the configuration names no store.

    Raises LayoutError where no disk can be the journal, or disks of an earlier life are there without theirs.
    """
    if left := [disk for disk in disks if disk.contents.label == STORE or _is_shelf(disk)]:
        raise LayoutError(
            f"{left[0].device} is labelled {left[0].contents.label}, and the journal disk that belongs to it is missing",
            "attach it; if nothing of it is needed any more, wipe this disk: wipefs -a and zeros",
        )
    lasting = [disk for disk in _blank(disks) if not disk.ephemeral and disk.size_bytes >= MIN_JOURNAL_BYTES]
    if not lasting:
        raise LayoutError(
            "there is no blank data disk for the journal" + _seen(disks),
            "attach two of one size (one does, without protection against its loss); only blank disks are formatted",
        )
    mirrors = _pair(lasting) or lasting[:1]
    layout = Layout([Use(disk, f"{JOURNAL}{number}") for number, disk in enumerate(mirrors)])
    if len(mirrors) == 1:
        layout.notes.append(
            "the journal is on one disk alone: the loss of it is the loss of what only it holds"
        )
    rest = [disk for disk in _blank(disks) if disk not in mirrors]
    if wants_store and (lasting_rest := [disk for disk in rest if not disk.ephemeral]):
        largest = max(lasting_rest, key=lambda disk: disk.size_bytes)
        layout.store = Use(largest, STORE)
        rest.remove(largest)
    _add_shelves(layout, [], rest)
    return layout


def again(
    disks: Sequence[Disk],
    journals: Sequence[Use],
    record: Record,
    given_up: frozenset[str] = frozenset(),
) -> Layout:
    """The layout of a machine with a journal: what the labels say, and blank disks for what is missing.
    given_up: labels of mirrors that were taken out by hand, and so are missed by nobody.

    Raises LayoutError where the disk with the directory store is missing.
    """
    layout = Layout(list(journals))
    rest = _blank(disks)
    known = {use.label for use in journals}
    expected = [f"{JOURNAL}{number}" for number in range(record.mirrors)]
    layout.missing = [label for label in expected if label not in known | given_up]
    del layout.missing[max(0, record.mirrors - len(journals)) :]
    size_bytes = journals[0].disk.size_bytes
    spares = [disk for disk in rest if disk.size_bytes == size_bytes and not disk.ephemeral]
    for label, disk in list(zip(layout.missing, spares, strict=False)):
        layout.journals.append(Use(disk, label))
        layout.notes.append(f"{disk.device} takes the place of the missing {label}")
        rest.remove(disk)
        layout.missing.remove(label)
    if layout.missing:
        layout.notes.append(
            f"{len(layout.missing)} of {record.mirrors} journal mirrors missing:"
            " attach the disk, or a blank one of its size and reboot"
        )
    stores = [Use(disk, STORE) for disk in disks if disk.contents.label == STORE]
    if record.store == STORE and not stores:
        raise LayoutError(f"the disk {STORE}, which holds the files' data, is missing", "attach it")
    layout.store = stores[0] if stores else None
    _add_shelves(layout, [disk for disk in disks if _is_shelf(disk)], rest)
    return layout


def _blank(disks: Sequence[Disk]) -> list[Disk]:
    return [disk for disk in disks if disk.contents.blank]


def _pair(disks: Sequence[Disk]) -> list[Disk]:
    """The first two disks of one size."""
    for number, disk in enumerate(disks):
        for other in disks[number + 1 :]:
            if other.size_bytes == disk.size_bytes:
                return [disk, other]
    return []


def _is_shelf(disk: Disk) -> bool:
    return disk.contents.label.startswith(L2)


def _add_shelves(layout: Layout, labelled: Sequence[Disk], blank: Sequence[Disk]) -> None:
    """The shelves that there are, and every NVMe disk that is blank. Where that is none, the largest other blank disk."""
    layout.shelves = [Use(disk, disk.contents.label) for disk in labelled]
    fresh = [disk for disk in blank if disk.nvme]
    if not layout.shelves and not fresh:
        fresh = sorted(blank, key=lambda disk: -disk.size_bytes)[:1]
    taken = {use.label for use in layout.shelves}
    free = [label for label in (f"{L2}{n}" for n in range(MAX_SHELVES)) if label not in taken]
    added = [Use(disk, label) for disk, label in zip(fresh, free[: MAX_SHELVES - len(taken)], strict=False)]
    layout.shelves += added
    used = [use.disk for use in added]
    if unused := [disk.device for disk in blank if disk not in used]:
        layout.notes.append(f"not used: {', '.join(unused)}")


def _seen(disks: Sequence[Disk]) -> str:
    """Why none of the disks that are there does, for a message."""
    if not disks:
        return ": the machine has no other disk than the system's"
    told = [
        f"{disk.device} holds {disk.contents.kind or 'data'}"
        if not disk.contents.blank
        else f"{disk.device} is lost at each stop"
        if disk.ephemeral
        else f"{disk.device} has less than {MIN_JOURNAL_BYTES >> 20} MiB"
        for disk in disks
    ]
    return ": " + ", ".join(told)
