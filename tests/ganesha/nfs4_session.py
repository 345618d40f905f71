"""A client of NFS 4.0, 4.1 or 4.2 in plain Python that sends whatever a test wants: see nfs4_ops for the operations."""

import contextlib
import struct
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self

from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs3_client import NFS, Connection, Reader, opaque
from tests.ganesha.nfs4_ops import Attributes, Nfs4Error, Op, u32, u64

_UNCHECKED, _GUARDED, _EXCLUSIVE, _EXCLUSIVE41 = 0, 1, 2, 3
_CONFIRM = 2
# STALE_CLIENTID, STALE_STATEID, BAD_STATEID, BAD_SEQID, BADXDR, RESOURCE, NOFILEHANDLE, MOVED
_NOT_COUNTED = {10022, 10023, 10025, 10026, 10036, 10018, 10020, 10019}


@dataclass
class Owner:
    """An open owner or a lock owner; 4.0 numbers its requests."""

    name: bytes
    seqid: int = 0


@contextlib.contextmanager
def _numbered(*owners: Owner) -> Generator[None]:
    """Around a request of owners: it takes a number of theirs, but for failures that the server cannot hold against them."""
    try:
        yield
    except Nfs4Error as error:
        if error.status not in _NOT_COUNTED:
            for owner in owners:
                owner.seqid += 1
        raise
    for owner in owners:
        owner.seqid += 1


@dataclass
class Opened:
    """An open file."""

    handle: bytes
    stateid: bytes
    owner: Owner
    attributes_set: set[int] = field(default_factory=set[int])


@dataclass
class Locked:
    """The locks of one owner on one open file."""

    opened: Opened
    stateid: bytes
    owner: Owner


class Create:
    """How an OPEN creates its file."""

    @staticmethod
    def unchecked(attributes: Attributes = {}) -> bytes:  # noqa: B006 - never changed
        return u32(1, _UNCHECKED) + ops.fattr(attributes)

    @staticmethod
    def guarded(attributes: Attributes = {}) -> bytes:  # noqa: B006 - never changed
        return u32(1, _GUARDED) + ops.fattr(attributes)

    @staticmethod
    def exclusive(verifier: bytes) -> bytes:
        return u32(1, _EXCLUSIVE) + verifier

    @staticmethod
    def exclusive41(verifier: bytes, attributes: Attributes = {}) -> bytes:  # noqa: B006 - never changed
        return u32(1, _EXCLUSIVE41) + verifier + ops.fattr(attributes)


class Session:
    """One client; `minor` is the version's. `ids`, `groups`: user, group and other groups that its requests come from.

    `verifier` is that of the client's boot: the same name with another one is the same client started again.
    """

    def __init__(
        self,
        port: int,
        name: bytes,
        minor: int = 1,
        *,
        export: bytes = b"data",
        ids: tuple[int, int] = (0, 0),
        groups: tuple[int, ...] = (),
        verifier: bytes = b"boot0001",
        reclaims: bool = False,
    ) -> None:
        self.minor, self._name = minor, name
        self._connection = Connection(port, NFS, 4, ids=ids, groups=groups)
        self._owners = count()
        self._session, self._sequence = b"", 0
        try:
            if minor:
                self._start_41(verifier)
                if not reclaims:
                    self.reclaim_complete()
            else:
                self._start_40(verifier)
            self.root: bytes = self.run(ops.putrootfh(), ops.lookup(export), ops.getfh())[-1]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drops the connection and says nothing to the server, as a client that loses power."""
        self._connection.close()

    def limit(self, timeout_s: float) -> None:
        """From now on an answer that takes longer is a TimeoutError."""
        self._connection.limit(timeout_s)

    def _start_40(self, verifier: bytes) -> None:
        callback = u32(0x40000000) + opaque(b"tcp") + opaque(b"127.0.0.1.0.0") + u32(1)
        given = self._run(Op(35, verifier + opaque(self._name) + callback, lambda r: (r.u64(), r.fixed(8))))
        self.clientid, confirm = given[0]
        self._run(Op(36, u64(self.clientid) + confirm))

    def _start_41(self, verifier: bytes) -> None:
        owner = verifier + opaque(self._name) + u32(0, 0, 0)
        self.clientid, sequence = self._run(Op(42, owner, lambda r: (r.u64(), r.u32())))[0]
        channel = u32(0, 1 << 20, 1 << 20, 1 << 16, 64, 1, 0)
        arguments = u64(self.clientid) + u32(sequence, 0) + channel + channel + u32(0x40000000, 1, 0)
        self._session = self._run(Op(43, arguments, lambda r: r.fixed(16)))[0]

    def reclaim_complete(self) -> None:
        self.run(Op(58, u32(0)))

    def destroy(self) -> None:
        """Ends the session and the client (4.1)."""
        self._run(Op(44, self._session))
        self._run(Op(57, u64(self.clientid)))

    def renew(self) -> None:
        """Renews the lease."""
        if self.minor:
            self.run()
        else:
            self.run(Op(30, u64(self.clientid)))

    def run(self, *operations: Op) -> list[Any]:
        """The results of all operations. Raises Nfs4Error with the status of the first that failed."""
        if not self.minor:
            return self._run(*operations)
        self._sequence += 1
        sequence = Op(53, self._session + u32(self._sequence, 0, 0, 0), lambda r: r.fixed(36))
        return self._run(sequence, *operations)[1:]

    def _run(self, *operations: Op) -> list[Any]:
        body = b"".join(u32(operation.number) + operation.arguments for operation in operations)
        r = self._connection.call(1, opaque(b"") + u32(self.minor, len(operations)) + body)
        status, _tag, answered = r.u32(), r.opaque(), r.u32()
        results: list[Any] = []
        for operation in operations[:answered]:
            number, outcome = r.u32(), r.u32()
            if outcome:
                raise Failed(outcome, number, r)
            results.append(operation.decode(r))
        if status:
            raise Nfs4Error(status, 0)
        return results

    # Objects

    def make(self, directory: bytes, name: bytes, kind: int = ops.DIR, **more: Any) -> bytes:
        """Makes an object of any kind; returns its handle."""
        if kind == ops.REG:
            opened = self.open(directory, name, create=Create.guarded({ops.MODE: 0o644}))
            self.close_file(opened)
            return opened.handle
        attributes = more.pop("attributes", {ops.MODE: 0o755})
        if kind == ops.LNK:
            more.setdefault("target", b"target")
        return self.run(ops.putfh(directory), ops.create(kind, name, attributes, **more), ops.getfh())[-1]

    def attributes(self, handle: bytes, *numbers: int) -> dict[int, Any]:
        return self.run(ops.putfh(handle), ops.getattr_(*numbers))[-1]

    # State

    def owner(self) -> Owner:
        return Owner(b"%s-%d" % (self._name, next(self._owners)))

    def open(
        self,
        directory: bytes,
        name: bytes,
        access: int = ops.BOTH,
        deny: int = ops.DENY_NONE,
        *,
        create: bytes = b"",
        owner: Owner | None = None,
        reclaim: bool = False,
    ) -> Opened:
        """Opens a name of a directory; with `reclaim`, the file whose handle is `directory`, as it was before a restart."""
        owner = owner or self.owner()
        claim = u32(1, 0) if reclaim else u32(0) + opaque(name)
        arguments = u32(owner.seqid, access, deny) + u64(self.clientid) + opaque(owner.name)
        arguments += (create or u32(0)) + claim

        def decode(r: Reader) -> tuple[bytes, int, set[int]]:
            stateid, _changes, flags, were_set = r.fixed(16), r.fixed(20), r.u32(), ops.read_bitmap(r)
            if r.u32():
                raise AssertionError("delegations are off")
            return stateid, flags, were_set

        with _numbered(owner):
            found = self.run(ops.putfh(directory), Op(18, arguments, decode), ops.getfh())
        stateid, flags, were_set = found[1]
        opened = Opened(found[2], stateid, owner, were_set)
        if flags & _CONFIRM and not self.minor:
            with _numbered(owner):
                opened.stateid = self._on(opened, Op(20, stateid + u32(owner.seqid), lambda r: r.fixed(16)))
        return opened

    def _on(self, opened: Opened, operation: Op) -> Any:
        return self.run(ops.putfh(opened.handle), operation)[-1]

    def close_file(self, opened: Opened) -> None:
        with _numbered(opened.owner):
            self._on(opened, Op(4, u32(opened.owner.seqid) + opened.stateid))

    def downgrade(self, opened: Opened, access: int, deny: int) -> None:
        arguments = opened.stateid + u32(opened.owner.seqid, access, deny)
        with _numbered(opened.owner):
            opened.stateid = self._on(opened, Op(21, arguments, lambda r: r.fixed(16)))

    def lock(
        self,
        opened: Opened,
        kind: int,
        offset: int,
        length: int,
        *,
        held: Locked | None = None,
        owner: Owner | None = None,
        reclaim: bool = False,
    ) -> Locked:
        """Takes a lock: the first of a new owner, or with `held` another of an owner that has some. Raises Failed, whose
        `conflict` is what the lock met (DENIED).
        """
        start = u32(kind, int(reclaim)) + u64(offset, length)
        if held is None:
            held = Locked(opened, b"", owner or self.owner())
            who = u32(1, opened.owner.seqid) + opened.stateid + u32(held.owner.seqid)
            who += u64(self.clientid) + opaque(held.owner.name)
            numbered = (opened.owner, held.owner)
        else:
            who = u32(0) + held.stateid + u32(held.owner.seqid)
            numbered = (held.owner,)
        with _numbered(*numbered):
            held.stateid = self._on(opened, Op(12, start + who, lambda r: r.fixed(16)))
        return held

    def unlock(self, held: Locked, offset: int, length: int) -> None:
        arguments = u32(ops.WRITE_LT, held.owner.seqid) + held.stateid + u64(offset, length)
        with _numbered(held.owner):
            held.stateid = self._on(held.opened, Op(14, arguments, lambda r: r.fixed(16)))

    def test_lock(
        self, handle: bytes, kind: int, offset: int, length: int, owner: Owner | None = None
    ) -> None:
        """LOCKT. Raises Failed."""
        who = u64(self.clientid) + opaque((owner or self.owner()).name)
        self.run(ops.putfh(handle), Op(13, u32(kind) + u64(offset, length) + who))


class Failed(Nfs4Error):
    """An operation's failure, with what some of them say of it."""

    def __init__(self, status: int, operation: int, rest: Reader) -> None:
        super().__init__(status, operation)
        self._rest = rest

    @property
    def conflict(self) -> tuple[int, int, int]:
        """Of a lock that was denied: offset, length and type of the one in its way."""
        return struct.unpack(">QQI", self._rest.fixed(20))


def status_of(call: Any, *arguments: Any, **more: Any) -> int:
    """The status that a call fails with; 0 when it succeeds."""
    try:
        call(*arguments, **more)
    except Nfs4Error as error:
        return error.status
    return ops.OK
