"""The native core: journal, live inodes, block cache, packs and object store.

Times are nanoseconds since 1970 unless a name says monotonic; sizes and offsets are bytes; every LSN, pack id and inode
number is `epoch << 40 | counter`. A call that waits or does I/O releases the GIL. Objects may be used from any thread.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeAlias, final

BLOCK_PAYLOAD_BYTES: int
"""Bytes of a pack that one block holds: what the file data of a pack is cut into."""
FAILPOINTS: tuple[str, ...]
"""Names of all failpoints of the native core. `CAUDAL_FAILPOINTS` arms them when the module is loaded."""

Extent: TypeAlias = tuple[int, int, int, int]
"""(file offset, length, pack, pack offset). In a splice, pack 0 means a hole."""

class Attributes(NamedTuple):
    """All attributes of an inode. `kind` is the S_IFMT part of a POSIX mode, `mode` its permission bits (07777)."""

    inode: int
    generation: int
    kind: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev_major: int
    rdev_minor: int
    size: int
    space_used: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int
    change: int

Flushed: TypeAlias = tuple[int, int, Sequence[Extent]]
"""(inode, taken LSN, splices): what a row transaction says of one flushed inode; see `Core.replay`."""

class ReplayReport(NamedTuple):
    """What the journal held. `torn_tail`: it ended in a record that was never acknowledged.

    `preceding_lsn`: everything up to it was trimmed, so rows that have not come as far lack something; 0: nothing was.
    `skipped`: records about data of inodes that are gone.
    """

    first_lsn: int
    last_lsn: int
    records: int
    bytes: int
    rows: int
    skipped: int
    torn_tail: bool
    preceding_lsn: int
    lost: str | None

class FlushedInode(NamedTuple):
    """One inode of a batch.

    Changes up to `taken_lsn` are in `splices` and `attributes`; 0 marks a relocation, which covers no change.
    Splices come in file order, do not overlap, and hold file data of this batch's packs or holes (pack 0). The row's mode
    follows `Core.attributes(inode).mode` in the same transaction: a write by another user than root may have cleared bits.
    """

    inode: int
    taken_lsn: int
    attributes: Attributes
    splices: list[Extent]

class FlushedPack(NamedTuple):
    """A pack of a batch: its object's size, and the payload bytes that the batch's splices name."""

    id: int
    bytes: int
    live_bytes: int

class DirtySummary(NamedTuple):
    """Changes that no flush has committed. `bytes` counts data, of which `memory_bytes` are held in memory.

    `oldest_age_s` is 0.0 and `oldest_lsn` is 0 when nothing is dirty.
    """

    bytes: int
    memory_bytes: int
    inodes: int
    oldest_age_s: float
    oldest_lsn: int

class PackFooter(NamedTuple):
    """Index of a pack: entries (inode, file offset, length, pack offset), and the LSN that was current when it was built."""

    lsn: int
    entries: list[tuple[int, int, int, int]]

class CoreError(Exception):
    """Base of the core's errors; itself raised where the core is used out of turn (before start, after close)."""

class Busy(CoreError):
    """Nothing was changed: no wait slot or no room in the journal. The client tries again (JUKEBOX)."""

    errno: int

class NotResident(CoreError):
    """The inode is not live in the core: activate it and try again."""

class StoreError(CoreError):
    """The object store did not do it; retries inside the core are used up. Abort the batch and try later."""

    errno: int

class PackGone(StoreError):
    """A pack that was there is not: what lived in it lives elsewhere by now, if it lives."""

class JournalError(CoreError):
    """No journal mirror takes writes, or the journal cannot be read. Nothing more can be acknowledged."""

    errno: int

class StaleJournalError(JournalError):
    """The mirrors that are there lack what was acknowledged without them; the message says what."""

class NewerFormatError(JournalError):
    """A later version of this software wrote the journal."""

class SealError(CoreError):
    """Data are not what was sealed, or the key that they were sealed with is lacking."""

class CorruptError(CoreError):
    """Stored bytes do not match their checksum, or a journal lacks acknowledged records."""

    errno: int

@final
class Fence:
    """What the owner's lease lets pass: replies, and changes of the store. One thread tells how its attempts to renew end;
    until the first one everything passes.
    """

    def __new__(cls) -> Self: ...
    def attempt(self) -> None:
        """An attempt begins; it ends by one of the next four."""

    def renewed(self, lease_s: float) -> None:
        """The lease runs for so long, from the beginning of the attempt."""

    def unanswered(self, go_on_s: float) -> None:
        """Replies pass for so long from the beginning of the attempt, and those that waited for it; 0: as the lease says."""

    def contested(self) -> None:
        """Somebody else holds the lease: nothing passes until an attempt ends otherwise."""

    def lost(self) -> None:
        """Somebody else owns the file system: nothing passes any more."""

    def wake(self) -> None:
        """Ends a wait_wanted()."""

    def wait_wanted(self, timeout_s: float) -> bool:
        """Waits until a reply waits for an attempt; False when none did in the time."""

    def pass_(self) -> None:
        """Waits as a reply does. Raises Busy where it may not go out now, or ever."""

    @property
    def lease_left_s(self) -> float | None:
        """How long the lease is known to run; None before the first attempt."""

    @property
    def state(self) -> str:
        """valid; unconfirmed: past the lease, and serving goes on; waiting: replies wait; fenced."""

@final
class Limits:
    """Limits on what clients read and write, and the gate that holds them to it."""

    def __new__(cls) -> Self: ...
    def set(self, rules: Sequence[tuple[str, int, bytes, int, float, float, float, float]]) -> None:
        """Replaces all rules: (scope: server, export or clients; id of the export; network, 16 bytes; its prefix; bytes
        read, bytes written, requests a second, 0 for any; seconds of credit). Raises CoreError.
        """

    def counts(self) -> list[tuple[int, int, int, float]]:
        """Of each rule in turn, since it was set: requests that passed, those that were delayed, those that were told
        to come again, seconds of delays.
        """

    def close(self) -> None:
        """Lets everybody go who waits; nobody waits any more."""

    def gate_capsule(self) -> object:
        """The gate as C functions: a capsule "pyganesha.gate" of pyganesha_gate.h."""

@final
class FlushBatch:
    """Changes taken out of live inodes on their way into packs. Its inodes can not be taken again until it ends.

    Protocol: `write()`, then build rows from `inodes` and `packs`, `Core.append_rows`, `commit(lsn)`. On any failure
    before the append: `abort()`. A batch that is dropped is aborted; its packs, if any were put, are garbage for the
    collector.
    """

    @property
    def inodes(self) -> list[FlushedInode]:
        """What was taken; splices are filled in by `write`."""

    @property
    def packs(self) -> list[FlushedPack]:
        """Packs that `write` put."""

    @property
    def bytes(self) -> int:
        """File data in the batch."""

    def write(self) -> None:
        """Builds the packs and puts them, several at once, without the GIL.

        Raises StoreError, CorruptError (journaled bytes do not match their checksum), JournalError, CoreError (twice).
        """

    def commit(self, lsn: int) -> None:
        """Swaps what was taken for extents in the live inodes, where nothing newer was written; cannot fail halfway.

        `lsn` is that of the row transaction. Inodes forgotten meanwhile are skipped. Raises CoreError before `write` and
        after the end.
        """

    def abort(self) -> None:
        """Gives everything back: it is dirty as before. Does nothing after the end."""

@final
class Core:
    """One file system's data path. Build it, `replay`, `start`, and `close` it at the end.

    Every method but those says CoreError before `start` unless it is marked as callable during replay.
    """

    def __new__(
        cls,
        *,
        keys: KeyRing | None = None,
        fence: Fence | None = None,
        fs_id: bytes,
        epoch: int,
        journal: Sequence[str],
        store_url: str,
        store_options: Mapping[str, str],
        l1_bytes: int,
        l2_dir: str | None,
        l2_bytes: int,
        segment_bytes: int,
        journal_limit_bytes: int,
        dirty_memory_bytes: int,
        max_inodes: int,
        readahead_bytes: int,
        pack_bytes: int,
        io_threads: int,
        store_wait_s: float = 30.0,
        wait_slots: int = 100,
        mirror_wait_s: float = 10.0,
        members_file: str | None = None,
        membership: int = 0,
        members: Sequence[bytes] = ...,
        accept_loss: bool = False,
        world: SimWorld | None = None,
    ) -> Self:
        """Opens store and caches; touches no journal yet. `fs_id` has 16 bytes.

        `mirror_wait_s`: a journal mirror that takes longer for a write is dropped while another is healthy. `members_file`:
        where a copy of the newest list of mirrors is kept. `membership`, `members`: the newest epoch and lists (as `members`
        gives them) that others know of; mirrors that are older are refused by `replay` unless `accept_loss`.

        `fence` stands before replies and changes of the store; None: nothing does.
        `store_wait_s`: how long a read waits for a store that does not answer, and an operation of the store is tried again.

        `store_url` is file:///path or az://container[/prefix]; `store_options` are object_store's Azure keys. In a `world`
        its disk holds the journal, its store takes the place of the URL's, and all happens on the calling thread.
        Raises ValueError for parameters out of range, StoreError when the store cannot be opened.
        """

    def replay(
        self,
        *,
        from_lsn: int,
        on_rows: Callable[[int, bytes], Iterable[Flushed]],
        load: Callable[[int], tuple[Attributes, Sequence[Extent]] | None],
    ) -> ReplayReport:
        """Reads the journal's records from `from_lsn` on, in LSN order; once, before `start`.

        A row transaction goes to `on_rows(lsn, payload)`, which returns the flushed inodes in it. It may call `forget`,
        `update_names` and `attributes` for inodes that are resident already. A record about the data of an inode that is not
        resident asks `load(inode)` for its row and extents; None: the inode is gone, the record is skipped. Rows that the
        database has already (up to its checkpoint's LSN) must not go backward meanwhile: their flushed inodes are returned
        all the same, but they are not applied again.
        Afterwards all inodes with changes are resident and as they were. Exceptions of the callbacks pass through.
        Raises JournalError, CorruptError.
        """

    def mirrors(self) -> list[str]:
        """Directories of the journal mirrors that hold everything that was acknowledged."""

    def members(self) -> tuple[int, bytes]:
        """The membership epoch, and the list of those mirrors in its stored form."""

    def mirror_add(self, path: str) -> bool:
        """Takes a directory in as a mirror, which is rebuilt meanwhile; False: it was one. Raises JournalError."""

    def mirror_remove(self, path: str) -> None:
        """Takes a mirror out. Raises JournalError for one that is none, and for the last healthy one."""

    def start(self) -> None:
        """Opens a new journal segment in this epoch and starts the threads. Raises JournalError, CoreError."""

    def close(self) -> None:
        """Waits for what is under way, commits the journal and stops the threads. Does nothing the second time."""

    @property
    def durable_lsn(self) -> int:
        """Every record up to this one survives a crash."""

    @property
    def last_lsn(self) -> int:
        """LSN of the newest record."""

    def reserve(self, bytes: int) -> None:
        """Takes a wait slot and room in the journal for the calling thread, before anything changes; does not wait.

        What the thread still held is given back first. Raises Busy.
        """

    def release(self) -> None:
        """Gives the calling thread's slot and room back, if it holds them."""

    def append_rows(self, payload: bytes) -> int:
        """Appends a row transaction, in the room that the thread reserved, and returns its LSN.

        Without a reservation it may pass the journal's limit: for flush commits, which free more room than they take.
        Raises JournalError.
        """

    def wait_durable(self, lsn: int) -> None:
        """Returns when the record is durable, and gives the thread's slot back. Raises JournalError.

        On a thread of Ganesha's, inside an operation that the shim brackets (begin and settle of pyganesha_io.h), it returns
        at once: the shim waits, without the GIL, before it lets the operation be answered.
        """

    def activate(self, attributes: Attributes, extents: Sequence[Extent]) -> None:
        """Makes a regular file resident with the attributes and extents of its row; does nothing where it is resident.

        Callable during replay. Call it under the lock under which rows change. Raises ValueError for overlapping extents.
        """

    def attributes(self, inode: int) -> Attributes | None:
        """Attributes of a resident inode: newer than its row in all fields that the core owns.

        Those are size, space_used, atime_ns, mtime_ns, and mode's S_ISUID and S_ISGID, which a write by another user
        than root clears; ctime_ns and change are the larger of both sides. Callable during replay.
        """

    def update_names(
        self, inode: int, *, mode: int, uid: int, gid: int, nlink: int, ctime_ns: int, lsn: int
    ) -> bool:
        """Tells the core what a row transaction at `lsn` says. False: not resident. Callable during replay."""

    def set_data_attributes(
        self,
        inode: int,
        *,
        size: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        ctime_ns: int,
    ) -> int | None:
        """Sets what is not None and returns the LSN to wait for; None: not resident. Uses the thread's reservation.

        Raises OSError(EFBIG) for a size above 2**63 - 1, JournalError.
        """

    def seek(self, inode: int, offset: int, *, hole: bool) -> int | None:
        """Where the first data, or the first hole, begin at or after `offset`; None: no data before the end of the file.

        The end of the file is a hole. Data are what was written, zeros too.
        Raises OSError(ENXIO) where `offset` is not before the end, NotResident.
        """

    def allocate(self, inode: int, offset: int, length: int, *, uid: int = 0) -> int:
        """Makes the file at least `offset + length` large, without giving it data. Durable when it returns, with its LSN.

        Raises OSError (EFBIG; ENOSPC: the store has no room for what the range would hold), NotResident, Busy, JournalError.
        """

    def deallocate(self, inode: int, offset: int, length: int, *, uid: int = 0) -> int:
        """Makes what of the range lies below the size a hole. Durable when it returns, with its LSN.

        Raises NotResident, Busy, JournalError.
        """

    def will_need(self, inode: int, offset: int, length: int) -> None:
        """Begins to fetch what of the range (length 0: to the end) fits half of L1. Raises NotResident."""

    def forget(self, inode: int) -> None:
        """The inode is deleted: drops its changes and extents at once. Callable during replay."""

    def read(self, inode: int, offset: int, length: int) -> bytes:
        """Reads up to `length` bytes; fewer only at the end of the file. Raises NotResident, OSError."""

    def write(self, inode: int, offset: int, data: bytes, *, stable: bool = False, uid: int = 0) -> int:
        """Writes all of `data` and returns the LSN that makes it durable, after waiting for it if `stable`.

        Raises NotResident, Busy (no room in the journal for ten seconds), OSError.
        """

    def commit(self, inode: int) -> None:
        """Returns when everything written to the inode before is durable. Raises NotResident, Busy, JournalError."""

    def extents(self, inode: int) -> list[Extent] | None:
        """Flushed extents of a resident inode in file order, below its dirty data; None: not resident."""

    def flush_take(
        self,
        *,
        inodes: Sequence[int] | None,
        dirty_before_ns: int | None,
        upto_lsn: int | None,
        max_bytes: int,
    ) -> FlushBatch | None:
        """Takes changes, oldest first, up to about `max_bytes` of data; None: nothing fits the conditions.

        `inodes` restricts it to these. `dirty_before_ns`: only inodes dirty since before this `time.monotonic_ns()`.
        `upto_lsn`: only inodes with a change not newer than this. An inode larger than `max_bytes` is taken in parts.
        """

    def relocate(self, moves: Sequence[tuple[int, int, int, int, int]], max_bytes: int) -> FlushBatch | None:
        """Copies extents (inode, offset, length, pack, pack offset) into new packs; same protocol as a flush.

        Takes only pieces whose extent still points there, of resident inodes that no other batch holds.
        """

    def dirty(self) -> DirtySummary:
        """What is not flushed yet. Callable during replay."""

    def trim(self, checkpoint_lsn: int) -> int:
        """Drops journal segments that flush and checkpoint have passed; returns the bytes freed. Raises JournalError."""

    def list_packs(self) -> list[tuple[int, int, float]]:
        """(id, bytes, seconds since 1970 of the last change) of all packs in the store. Raises StoreError."""

    def delete_pack(self, id: int) -> None:
        """Deletes a pack; one that is not there is no error. Raises StoreError."""

    def verify_pack(self, id: int, deep: bool) -> None:
        """Checks a pack's footer and, if `deep`, every block. Raises CorruptError, StoreError."""

    def pack_footer(self, id: int) -> PackFooter:
        """Reads a pack's index. Raises CorruptError, StoreError."""

    def cache_drop(self, l1: bool, l2: bool) -> None:
        """Empties the block caches."""

    def resize_l1(self, bytes: int) -> None:
        """Sets the capacity of the block cache in memory."""

    def stats(self) -> dict[str, object]:
        """Nested plain figures: cache.l1|l2, store, objects, journal, dirty, io, inodes.

        store: `state` (the worse of `reads` and `writes`) is ok, throttled, unreachable, failing or refused, for `since_s`;
        `last_error` is kept when it is over.
        """

    def io_capsule(self) -> object:
        """The data path as C functions: a capsule "pyganesha.io" of pyganesha_io.h. It keeps the core alive."""

@final
class BlockCache:
    """The tiers of a core's block cache, as the cache's policy and operators change them while it serves.

    A shelf is a directory of L2. A run is neighbouring blocks of one pack: (pack, first block, how many). All raise
    CoreError for what a shelf refuses or fails to do.
    """

    def __new__(cls, core: Core) -> Self: ...
    def add_shelf(self, directory: str, bytes: int) -> None:
        """Another shelf, of at most 16. Where the error says that it could not be opened it is part of L2 all the same, and
        opened as soon as it can be.
        """

    def remove_shelf(self, directory: str) -> None:
        """Takes a shelf away and removes its blocks from the directory."""

    def drain_shelf(self, directory: str, draining: bool) -> None:
        """A shelf that is drained takes nothing new; what is read from it moves to another one."""

    def resize_shelf(self, directory: str, bytes: int) -> None:
        """Another size; what fits stays. While the directory is opened again its blocks are misses."""

    def move_from_shelf(self, directory: str, run: tuple[int, int, int]) -> int:
        """Copies blocks that only this shelf has to others; returns how many. Waits while the others cannot keep up."""

    def warm(self, run: tuple[int, int, int]) -> int:
        """Brings blocks into L2, or into memory where there is no L2; returns how many were fetched from the store. Waits
        while L2 cannot keep up. Raises StoreError, CorruptError.
        """

    def held(self, runs: Sequence[tuple[int, int, int]]) -> int:
        """How many of these blocks are in L2, or in memory where there is no L2."""

    def pin(self, runs: Sequence[tuple[int, int, int]]) -> None:
        """These blocks stay in L2 while others have to go, and no others do. It does not bring them there."""

    def audit_set(self, levels: Sequence[tuple[int, int]]) -> None:
        """What is audited by export (Ganesha's number): 1 changes, 2 reads too. Those that are not named: nothing."""

    def audit_level(self, export: int) -> int: ...
    def audit_note(
        self,
        export: int,
        op: str,
        result: int,
        inode: int,
        place: tuple[int, bytes] | None,
        target: tuple[int, bytes] | None = None,
    ) -> None:
        """An operation of this thread's caller: result 0 or an errno; place, target: directory and name. Never waits; where
        65,536 events wait already it is dropped and counted.
        """

    def audit_take(
        self, most: int
    ) -> list[
        tuple[int, str, int, str | None, int, int, int, tuple[int, bytes] | None, tuple[int, bytes] | None]
    ]:
        """The oldest events, removed: time (nanoseconds since 1970), operation, export, client, uid, result (-1: under way
        when it was told), inode (0: see the place), place, target.
        """

    def audit_counts(self) -> tuple[int, int]:
        """Events that wait, and those that were dropped since the start."""

    def take_read_packs(self) -> list[int]:
        """The packs that the store was asked for since the last call: some 65,000 of them at most."""

    def export_reads(self) -> list[tuple[int, int, int, int]]:
        """Reads since the start by export (Ganesha's number), and by where the farthest of what they needed was: in memory,
        on a disk of this machine (L2, or the journal), in the store. 0: reads of no export.
        """

    def activity(self) -> dict[str, Any]:
        """Who uses what most, faded by half in 30 s; to be called every few seconds, for the core empties its notes into
        sketches of at most 512 items here.

        files: (inode, rates); clients: (address, rates), the heaviest first. all: rates. Rates: reads, writes, name
        operations, bytes read, bytes written a second, and how many of the operations may be others'. sample: some of the
        operations since the last call, chosen evenly: (inode, how many it stands for, bytes). Inode 0: a name operation.
        """

@final
class PackStore:
    """The packs of a store without a file system around them, for checks from outside. Methods as in `Core`."""

    def __new__(cls, store_url: str, store_options: Mapping[str, str], keys: KeyRing | None = None) -> Self:
        """Raises StoreError when the store cannot be opened."""

    def list_packs(self) -> list[tuple[int, int, float]]:
        """(id, bytes, seconds since 1970 of the last change) of all packs. Raises StoreError."""

    def delete_pack(self, id: int) -> None:
        """Deletes a pack; one that is not there is no error. Raises StoreError."""

    def verify_pack(self, id: int, deep: bool) -> None:
        """Checks a pack's footer and, if `deep`, every block. Raises CorruptError, StoreError."""

    def pack_footer(self, id: int) -> PackFooter:
        """Reads a pack's index. Raises CorruptError, StoreError."""

    def list_objects(self, prefix: str) -> list[tuple[str, int]]:
        """(key, bytes) of all objects below a directory, "" for the whole store. Raises StoreError."""

    def put_object(self, key: str, data: bytes) -> bool:
        """Creates an object, durably; False: there is one with this key, which stays. Raises StoreError."""

    def read_object(self, key: str, max_bytes: int) -> bytes | None:
        """The first bytes of an object, at most so many; None: there is no such object. Raises StoreError."""

    def delete_object(self, key: str) -> None:
        """Deletes an object; one that is not there is no error. Raises StoreError."""

@final
class KeyRing:
    """The master keys of one file system, by which packs and other objects are sealed. Shared with the core that got it."""

    def __new__(cls, fs_id: bytes, keys: Sequence[tuple[str, bytes]], *, seals: bool = True) -> Self:
        """`keys`: (id, 32 bytes); the first one seals, unless `seals` is false, the others open. Raises ValueError."""

    def replace(self, keys: Sequence[tuple[str, bytes]], *, seals: bool = True) -> None:
        """Puts other keys in place of these, for whatever begins from now on. Raises ValueError; then nothing changed."""

    @property
    def current(self) -> str | None:
        """Id of the key that seals; None: nothing is sealed any more."""

    @property
    def ids(self) -> list[str]:
        """Ids of all keys."""

    @property
    def fs_id(self) -> bytes:
        """The file system whose keys they are."""

    def seal(self, data: bytes, purpose: str) -> bytes:
        """Encrypts an object of any size. `purpose` says what it is, its name included: only who says the same opens it.

        Raises SealError where there is no current key.
        """

    def open(self, data: bytes, purpose: str) -> bytes:
        """What was sealed. Raises SealError for anything else, or where the key is lacking."""

    def sealer(self, purpose: str) -> ObjectSealer:
        """As `seal`, for an object that does not fit into memory."""

    def opener(self, purpose: str) -> ObjectOpener:
        """As `open`, for an object that does not fit into memory."""

@final
class ObjectSealer:
    """Seals an object piece by piece: the answers, joined, are the sealed object. For one thread."""

    def update(self, data: bytes) -> bytes:
        """Takes the next bytes, gives those of the sealed object that are certain."""

    def finish(self) -> bytes:
        """The last bytes; nothing may come after it."""

@final
class ObjectOpener:
    """Opens a sealed object piece by piece. Whatever it gives is authentic; that nothing is missing, `finish` says alone."""

    def update(self, data: bytes) -> bytes:
        """Takes the next bytes, gives the plaintext that is certain. Raises SealError."""

    def finish(self) -> bytes:
        """The last plaintext. Raises SealError where the object was cut off: what came before is of no use then."""

@final
class SimWorld:
    """A simulated machine with disk and clock, and a store, for tests. All that happens follows from seed and calls.

    Its steps are changes of the disk, requests to the store, and failpoints once they are watched. Steps of a dead
    machine fail.
    """

    def __new__(cls, seed: int) -> Self: ...
    @property
    def now_ns(self) -> int:
        """Its time, in nanoseconds since 1970; the monotonic one is the same. It moves by `advance` alone."""

    def advance(self, ns: int) -> None: ...
    @property
    def alive(self) -> bool: ...
    @property
    def steps(self) -> int:
        """Taken so far."""

    @property
    def digest(self) -> int:
        """Of all steps and notes so far, in their order: 64 bits."""

    def keep_trace(self) -> None:
        """Keeps steps and notes in words from now on."""

    def take_trace(self) -> list[str]:
        """Those kept since the last call."""

    def note(self, text: str) -> None:
        """Adds to digest and trace."""

    def die(self, after_steps: int, *, effect: bool) -> None:
        """Dies at that step from now, which takes effect or not."""

    def live(self) -> None:
        """Takes back a death that has not come yet."""

    def restart(self, *, without_power: bool, survives: float) -> None:
        """Lives again, all disks well. Close every core in it before.

        Without power, each sector and each name that was not synced survives with the probability `survives`.
        """

    def break_disk(self, directory: str, *, after_accesses: int) -> None:
        """Every access to files of the directory fails, after so many more, until the next start."""

    def forget_syncs(self, directory: str) -> None:
        """Syncs there do nothing and say that they did, until the next start."""

    def heal_disk(self, directory: str) -> None:
        """The disk works again, with what it has."""

    def replace_disk(self, directory: str) -> None:
        """An empty disk takes the place of the directory's, with nothing of what was on it."""

    def set_troubles(self, **troubles: float) -> None:
        """Probabilities of each trouble of the store from now on, those not named being 0.

        fails, lost_reply, late (a put is done after it was given up), slow, short, corrupt, throttled; away above 0: all
        fails.
        Raises ValueError for any other.
        """

    def lose_puts(self, probability: float) -> None:
        """Puts say that they are done and are not."""

    def objects(self) -> list[str]:
        """Keys of all objects in the store."""

    def watch_failpoints(self) -> None:
        """Passing a failpoint, anywhere in the process, is a step of this world from now on."""

    @staticmethod
    def unwatch_failpoints() -> None: ...
    def write_journal(self, core: Core, *, sync: bool) -> None:
        """The round that the journal's thread would do by itself: writes what was appended, or syncs it too."""

    def tend_mirrors(self, core: Core) -> None:
        """What the journal's other thread does after each new segment."""

@final
class Quotas:
    """Accounts of directories with limits: what the files below each take, flushed or not, exact at every moment.

    Call it with the namespace's lock held, so that rows and names stand still; writes go on meanwhile. They are refused with
    EDQUOT where they would pass a limit, and change nothing then. Directories have accounts between `open` and `close`;
    others are a CoreError. None in the place of one: no limits hold there.
    """

    def __new__(cls, core: Core) -> Self: ...
    def open(self, directory: int, parent: int | None) -> None:
        """An account of 0 bytes without limits, within that of `parent`, which counts its bytes already."""

    def close(self, directory: int) -> None:
        """Its files, and the accounts in it, belong to the account around it."""

    def enclose(self, directory: int, parent: int) -> None:
        """An account comes to lie in `parent`, which counts its bytes from now on."""

    def attach(self, inode: int, directory: int) -> bool:
        """A live file belongs to the account, which counts what it takes; those around it do already. False: it is none."""

    def live(self) -> list[int]:
        """The live files; one may be in two places of the list, or come and go meanwhile."""

    def add(self, directory: int, bytes: int, *, alone: bool = False) -> None:
        """Adds, or gives back, what cannot be refused: here and around, or here `alone`."""

    def limit(
        self, directory: int, *, hard_bytes: int | None, soft_bytes: int | None, grace_ns: int, since_ns: int
    ) -> None:
        """Sets the limits; None: not of this kind. `since_ns`: since when the soft one is exceeded; 0: not known."""

    def usage(self, directory: int) -> tuple[int, int]:
        """Bytes, and since when they are more than the soft limit (nanoseconds since 1970; 0: they are not)."""

    def available(self, directory: int) -> int:
        """Bytes that limits here and around leave."""

    def activate(self, attributes: Attributes, extents: Sequence[Extent], directory: int | None) -> None:
        """As `Core.activate`, of a file in the account of `directory`, which counts what its row says."""

    def forget(self, inode: int) -> bool:
        """As `Core.forget`; a live file's account has its bytes back. False: it is not live."""

    def carry(
        self, inode: int, bytes: int, source: int | None, target: int | None, *, needed: bool = False
    ) -> None:
        """A file goes from one account to another with what it takes: `bytes` if it is not live.

        Raises OSError (EDQUOT) where there is no room for it, and changes nothing; `needed`: it is not refused.
        """

@final
class JournalTail:
    """Reads row transactions from a journal that another process writes."""

    def __new__(
        cls, journal: Sequence[str], fs_id: bytes, from_lsn: int, world: SimWorld | None = None
    ) -> Self:
        """Starts at the first record with an LSN of at least `from_lsn`, on the disk of a `world`. Raises JournalError."""

    def next_batch(self, durable_lsn: int, max_bytes: int) -> list[tuple[int, bytes]]:
        """(LSN, payload) of the next row transactions up to `durable_lsn`, about `max_bytes` of them; [] at the end.

        Raises JournalError, CorruptError.
        """

    @property
    def position(self) -> int:
        """LSN up to which every record was seen, of whatever kind."""

    @property
    def is_cut_off(self) -> bool:
        """Whether the record before `from_lsn` is no part of the journal's history: its epoch had ended before it."""

def sealed_with(start: bytes) -> str | None:
    """Id of the key that a pack or object is sealed with, as its first bytes (48 suffice) claim; None: it is not sealed.

    Raises SealError for an object of a later version.
    """

def failpoint(name: str) -> None:
    """Passes a failpoint of Python's own steps. Raises OSError where it is armed to fail."""
