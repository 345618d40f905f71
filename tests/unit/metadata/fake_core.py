"""A core in plain Python: a list for the journal, dicts for live files and packs. Slow, simple, and easy to crash.

It keeps the promises of `gateway/_core.pyi` that the namespace leans on: one order of records, dirty pieces over the extent
map, truncation as a hole to the end of everything, flushes that never resurrect, replay in the order of LSNs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gateway.metadata.attributes import Attributes
from gateway.metadata.extents import Extent, ExtentMap

EPOCH_SHIFT = 40
INFINITY = 2**64 - 1

Rows = tuple[str, bytes]
Piece = tuple[int, int, int, bytes | None]  # LSN, offset, length, bytes (None: a hole)


class Busy(Exception):
    """No room; nothing has changed."""


@dataclass
class Disk:
    """What outlives a crash."""

    journal: list[tuple[int, tuple]] = field(default_factory=list)
    durable_lsn: int = 0
    packs: dict[int, bytes] = field(default_factory=dict)

    def crash(self, keep_beyond_durable: int = 0) -> None:
        """Power loss: of the records that nobody waited for, some of the first survive."""
        durable = sum(lsn <= self.durable_lsn for lsn, _ in self.journal)
        del self.journal[durable + keep_beyond_durable :]
        if self.journal:
            self.durable_lsn = self.journal[-1][0]


@dataclass
class Live:
    attributes: Attributes
    extents: ExtentMap
    dirty: list[Piece] = field(default_factory=list)
    attr_lsn: int = 0
    first_dirty_lsn: int = 0
    flushing: bool = False

    @property
    def is_dirty(self) -> bool:
        return bool(self.dirty) or self.attr_lsn > 0


@dataclass
class FlushedInode:
    inode: int
    taken_lsn: int
    attributes: Attributes
    splices: list[Extent]


@dataclass
class ReplayReport:
    last_lsn: int


class FlushBatch:
    def __init__(self, core: "FakeCore", inodes: Sequence[int]) -> None:
        self._core = core
        self._taken = {ino: core.live[ino].first_dirty_lsn for ino in inodes}
        self._pieces = {ino: list(core.live[ino].dirty) for ino in inodes}
        self._lsn = core.last_lsn
        self._attributes = {ino: core.attributes(ino) for ino in inodes}
        self.inodes: list[FlushedInode] = []
        self.packs: list[tuple[int, int, int]] = []
        for ino in inodes:
            core.live[ino].flushing = True

    def write(self) -> None:
        pack = self._core.number()
        content = b""
        for ino, pieces in self._pieces.items():
            taken = ExtentMap()
            for index, (_, offset, length, _) in enumerate(pieces):
                taken.splice(offset, length, index + 1, offset)
            splices: list[Extent] = []
            for offset, length, index, _ in taken.extents():
                _, begin, _, data = pieces[index - 1]
                if data is None:
                    splices.append((offset, length, 0, 0))
                else:
                    splices.append((offset, length, pack, len(content)))
                    content += data[offset - begin : offset - begin + length]
            self.inodes.append(FlushedInode(ino, self._lsn, self._attributes[ino], splices))
        if content:
            self._core.disk.packs[pack] = content
            self.packs.append((pack, len(content), len(content)))

    def commit(self, lsn: int) -> None:
        for item in self.inodes:
            live = self._core.live.get(item.inode)
            if live is None or not live.flushing:
                continue
            live.flushing = False
            self._core.splice(live, item.taken_lsn, item.splices)
            self._core.flushed.append((lsn, self._taken[item.inode]))

    def abort(self) -> None:
        for ino in self._taken:
            if ino in self._core.live:
                self._core.live[ino].flushing = False


class FakeCore:
    """`busy`: how many of the next reservations fail; `fail_append`: of the next appends."""

    def __init__(self, disk: Disk, epoch: int) -> None:
        self.disk = disk
        self.live: dict[int, Live] = {}
        self.flushed: list[tuple[int, int]] = []  # (commit LSN, first dirty LSN) of flushes, for trim
        self.busy = 0
        self.fail_append = 0
        self.reserved = 0
        self._next = epoch << EPOCH_SHIFT
        self._last = disk.journal[-1][0] if disk.journal else 0
        self._number = epoch << EPOCH_SHIFT

    def number(self) -> int:
        self._number += 1
        return self._number

    # Journal

    @property
    def durable_lsn(self) -> int:
        return self.disk.durable_lsn

    @property
    def last_lsn(self) -> int:
        return self._last

    def reserve(self, bytes: int) -> None:
        assert bytes > 0
        if self.busy:
            self.busy -= 1
            raise Busy
        self.reserved = 1

    def release(self) -> None:
        self.reserved = 0

    def _append(self, record: tuple) -> int:
        if self.fail_append:
            self.fail_append -= 1
            raise OSError("journal failed")
        self._next += 1
        self._last = self._next
        self.disk.journal.append((self._last, record))
        return self._last

    def append_rows(self, payload: bytes) -> int:
        return self._append(("rows", payload))

    def wait_durable(self, lsn: int) -> None:
        self.reserved = 0
        self.disk.durable_lsn = max(self.disk.durable_lsn, min(lsn, self._last))

    def rows(self, above: int) -> list[tuple[int, bytes]]:
        """What the steward's tail reads."""
        return [
            (lsn, record[1])
            for lsn, record in self.disk.journal
            if record[0] == "rows" and above < lsn <= self.disk.durable_lsn
        ]

    def trim(self, checkpoint_lsn: int) -> int:
        self.flushed = [(lsn, first) for lsn, first in self.flushed if lsn > checkpoint_lsn]
        below = min(
            checkpoint_lsn + 1,
            *(first for _, first in self.flushed),
            *(live.first_dirty_lsn for live in self.live.values() if live.is_dirty),
            INFINITY,
        )
        before = len(self.disk.journal)
        self.disk.journal[:] = [item for item in self.disk.journal if item[0] >= below]
        return before - len(self.disk.journal)

    # Live files

    def activate(self, attributes: Attributes, extents: Iterable[Extent]) -> None:
        if attributes[0] not in self.live:
            self.live[attributes[0]] = Live(Attributes(*attributes), ExtentMap(extents))

    def attributes(self, inode: int) -> Attributes | None:
        live = self.live.get(inode)
        return None if live is None else live.attributes

    def update_names(
        self, inode: int, *, mode: int, uid: int, gid: int, nlink: int, ctime_ns: int, lsn: int
    ) -> bool:
        live = self.live.get(inode)
        if live is None:
            return False
        old = live.attributes
        live.attributes = old._replace(
            mode=mode,
            uid=uid,
            gid=gid,
            nlink=nlink,
            ctime_ns=max(old.ctime_ns, ctime_ns),
            change=max(old.change, lsn),
        )
        return True

    def set_data_attributes(self, inode, *, size=None, atime_ns=None, mtime_ns=None, ctime_ns) -> int | None:
        if inode not in self.live:
            return None
        record = ("attr", inode, size, atime_ns, mtime_ns, ctime_ns)
        lsn = self._append(record)
        self._redo(lsn, record)
        return lsn

    def write(self, inode: int, offset: int, data: bytes, *, time_ns: int = 0, uid: int = 0) -> int:
        assert inode in self.live
        record = ("data", inode, offset, data, time_ns, uid)
        lsn = self._append(record)
        self._redo(lsn, record)
        return lsn

    def read(self, inode: int, offset: int, length: int) -> bytes:
        live = self.live[inode]
        content = bytearray(live.attributes.size)
        for at, size, pack, pack_offset in live.extents.extents():
            content[at : at + size] = self.disk.packs[pack][pack_offset : pack_offset + size][
                : max(0, len(content) - at)
            ]
        for _, at, size, data in live.dirty:
            size = max(0, min(size, len(content) - at))
            content[at : at + size] = bytes(size) if data is None else data[:size]
        return bytes(content[offset : offset + length])

    def _redo(self, lsn: int, record: tuple) -> None:
        live = self.live[record[1]]
        old = live.attributes
        live.first_dirty_lsn = live.first_dirty_lsn or lsn
        if record[0] == "data":
            _, _, offset, data, time_ns, uid = record
            live.dirty.append((lsn, offset, len(data), data))
            live.attributes = old._replace(
                size=max(old.size, offset + len(data)),
                mtime_ns=time_ns,
                ctime_ns=max(old.ctime_ns, time_ns),
                change=max(old.change, lsn),
                mode=old.mode & ~0o6000 if uid else old.mode,
            )
        else:
            _, _, size, atime_ns, mtime_ns, ctime_ns = record
            live.attr_lsn = lsn
            if size is not None:
                live.dirty.append((lsn, size, INFINITY - size, None))
            live.attributes = old._replace(
                size=old.size if size is None else size,
                atime_ns=old.atime_ns if atime_ns is None else atime_ns,
                mtime_ns=old.mtime_ns if mtime_ns is None else mtime_ns,
                ctime_ns=max(old.ctime_ns, ctime_ns),
                change=max(old.change, lsn),
            )
        self._count(live)

    def _count(self, live: Live) -> None:
        used = ExtentMap(live.extents.extents())
        for lsn, offset, length, data in live.dirty:
            used.splice(offset, length, lsn if data is not None else 0, offset)
        total = sum(length for _, length, _, _ in used.extents())
        live.attributes = live.attributes._replace(space_used=total)

    def forget(self, inode: int) -> None:
        self.live.pop(inode, None)

    def extents(self, inode: int) -> list[Extent] | None:
        live = self.live.get(inode)
        return None if live is None else live.extents.extents()

    def evict(self) -> None:
        """Drops every clean live inode: it was only cached."""
        self.live = {ino: live for ino, live in self.live.items() if live.is_dirty or live.flushing}

    # Flush

    def flush_take(
        self, *, inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=0
    ) -> FlushBatch | None:
        ready = [
            ino
            for ino, live in self.live.items()
            if live.is_dirty and not live.flushing and (inodes is None or ino in inodes)
        ]
        return FlushBatch(self, ready) if ready else None

    def splice(self, live: Live, taken_lsn: int, splices: Sequence[Extent]) -> None:
        for splice in splices:
            live.extents.splice(*splice)
        live.dirty = [piece for piece in live.dirty if piece[0] > taken_lsn]
        if live.attr_lsn <= taken_lsn:
            live.attr_lsn = 0
        live.first_dirty_lsn = min((p[0] for p in live.dirty), default=live.attr_lsn)
        self._count(live)

    # Recovery

    def replay(
        self,
        *,
        from_lsn: int,
        on_rows: Callable[[int, bytes], Iterable[tuple[int, int, Sequence[Extent]]]],
        load: Callable[[int], tuple[Attributes, Sequence[Extent]] | None],
    ) -> "ReplayReport":
        for lsn, record in list(self.disk.journal):
            if lsn < from_lsn:
                continue
            if record[0] == "rows":
                for inode, taken_lsn, splices in on_rows(lsn, record[1]):
                    live = self.live.get(inode)
                    if live is not None:
                        self.flushed.append((lsn, live.first_dirty_lsn or lsn))
                        self.splice(live, taken_lsn, splices)
                continue
            if record[1] not in self.live:
                loaded = load(record[1])
                if loaded is None:
                    continue
                self.activate(*loaded)
            self._redo(lsn, record)
        self.disk.durable_lsn = self._last
        return ReplayReport(self._last)

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass
