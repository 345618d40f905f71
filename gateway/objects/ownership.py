"""One owner: the lease on the root object, and the record in it that says whose it is.

The record is the truth, the lease keeps others from changing it. A start takes the lease, then the next epoch, by one swap
under the lease. Whoever takes over breaks the lease first and waits until it would have run out: by then the old owner has
been refused, or has stopped to answer because it could not renew.

After a crash the same state directory gets its own lease again at once: the lease's id is in it. Before each swap the
token that is to be swapped in is there too, so that whichever token the root object has, its owner knows it.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from typing import Any, Final, Self

import structlog

from gateway._core import failpoint
from gateway.errors import Reason, StartError
from gateway.objects.container import LeaseHeldError, LeaseLostError, Root, RootChangedError, RootStore
from gateway.objects.epoch import OwnerRecord, RootRecord, check_claim, check_identity, in_use, parse_record
from gateway.state import Identity, OwnFacts, StateDir

log = structlog.get_logger(__name__)

ATTEMPTS: Final = 20
POLL_S: Final = 0.25
# Beyond the end of a broken lease: whoever broke it polls, and comes first.
CONTEST_MARGIN_S: Final = 5.0


class Claim(Enum):
    """What a start may take."""

    OWN = auto()
    """What this state directory owned last, or nobody ever."""
    FREE = auto()
    """Also what another one owned last, if no lease runs."""
    TAKE_OVER = auto()
    """Also that: breaks the lease and waits for its end."""


class OwnershipLostError(Exception):
    """Somebody else owns the file system. `record`: what the root object says now, None where it could not be read."""

    def __init__(self, record: RootRecord | None) -> None:
        super().__init__("another server owns the file system")
        self.record = record


class ContestedError(Exception):
    """The lease is not ours and the record still is: somebody is about to take over, or gave up half-way."""


class Ownership:
    """The ownership of a file system. Methods may be called from any thread.

    Errors of the store are StartErrors; then nothing is known to have changed.
    """

    def __init__(
        self,
        state: StateDir,
        store: RootStore,
        owner: OwnerRecord,
        own: OwnFacts,
        *,
        new_id: Callable[[], str],
        now_s: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._state, self._store, self._owner, self._own = state, store, owner, own
        self._new_id, self._now_s, self._sleep = new_id, now_s, sleep
        self._lock = threading.Lock()
        self._record = RootRecord(bytes(16), 0, "")
        self._etag = ""
        self._renewed_at_s = now_s()
        # The lease may have been somebody else's for a while: the record has to be looked at.
        self._unsure = False
        self._contested_at_s: float | None = None

    @classmethod
    def take(
        cls,
        state: StateDir,
        store: RootStore,
        owner: OwnerRecord,
        *,
        claim: Claim = Claim.OWN,
        new_id: Callable[[], str],
        now_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        sleep: Callable[[float], None] = time.sleep,
    ) -> Self:
        """Takes lease and next epoch for a state directory; from then on older owners are refused.

        owner: what the record is to say of it. new_id: gives 32 random hexadecimal digits. now_s: a clock that counts
        pauses of process and machine. Makes the container and the root object on the first start. Raises StartError,
        with Reason.OWNED where the claim does not reach so far.
        """
        identity = state.read_identity()
        if identity is None:
            raise StartError(
                f"{state.identity_file} is missing",
                "start the server with `caudal up`, which writes it",
                Reason.STATE_UNUSABLE,
            )
        own = state.read_own_facts()
        if own is None or own.place != owner.place:
            # A copy of a state directory has a lease of its own.
            own = OwnFacts(owner.place, str(uuid.UUID(hex=new_id())), own.tokens if own else ())
        taken = cls(state, store, owner, own, new_id=new_id, now_s=now_s, sleep=sleep)
        taken._take(identity, claim)
        if not identity.started:
            state.write_identity(Identity(identity.fs_id, started=True))
        return taken

    def keep_with(self, store: RootStore) -> None:
        """From now on asks another handle of the same store: one that is prompt, where the start's was patient."""
        with self._lock:
            self._store = store

    @property
    def fs_id(self) -> bytes:
        return self._record.fs_id

    @property
    def epoch(self) -> int:
        return self._record.epoch

    @property
    def owner(self) -> OwnerRecord:
        """What the record says of this owner."""
        return self._owner

    @property
    def membership(self) -> Any:
        """The opaque JSON value that update() put there last, by this owner or one before; None where none ever did."""
        return self._record.membership

    # Taking

    def _take(self, identity: Identity, claim: Claim) -> None:
        store, tried, held = self._store, "", False
        store.create()
        for _ in range(ATTEMPTS):
            root = store.read_root()
            record = None if root is None else parse_record(root, store.url)
            if root is not None and record is not None and tried and record.token == tried:
                break
            check_identity(record, store.url, identity)
            token = tried = self._new_id()
            if root is None or record is None:
                following = RootRecord(identity.fs_id, 1, token, self._owner)
                lease_id = None
            else:
                self._may_take(root, record, claim)
                self._acquire(record, claim)
                held = True
                following, lease_id = record.next(token, self._owner, store.url), self._own.lease_id
                failpoint("owner.after_lease")
            try:
                root = self._swap(following, None if root is None else root.etag, lease_id)
            except (RootChangedError, LeaseLostError, LeaseHeldError):
                log.info("epoch.raced", epoch=following.epoch)
                held = False
                continue
            record = following
            break
        else:
            raise StartError(
                f"the root object of {store.url} changed under {ATTEMPTS} attempts to take it",
                "stop the other servers that start on this store",
                Reason.STORE_FOREIGN,
            )
        self._settled(record, root.etag)
        if not held:
            self._acquire(record, claim)

    def _may_take(self, root: Root, record: RootRecord, claim: Claim) -> None:
        if claim is Claim.OWN:
            check_claim(root, record, self._store.url, self._own, self._owner.place)
        elif claim is Claim.FREE and root.leased and record.owner and record.owner.place != self._owner.place:
            raise in_use(record, self._store.url)

    def _acquire(self, record: RootRecord, claim: Claim) -> None:
        """Takes the lease; with a take-over from whoever has it, once that one cannot answer clients any more."""
        lease_s = self._owner.lease_s
        deadline_s: float | None = None
        while True:
            began_s = self._now_s()
            try:
                self._store.acquire_lease(self._own.lease_id, lease_s)
            except LeaseHeldError as error:
                if claim is not Claim.TAKE_OVER:
                    raise in_use(record, self._store.url) from error
                if deadline_s is None:
                    period_s = record.owner.lease_s if record.owner and record.owner.lease_s else lease_s
                    log.warning(
                        "owner.taken_over", from_=record.owner and record.owner.name(), wait_s=period_s
                    )
                    self._store.break_lease(period_s)
                    deadline_s = began_s + period_s + CONTEST_MARGIN_S
                elif began_s > deadline_s:
                    deadline_s = None
                self._sleep(POLL_S)
                continue
            self._renewed_at_s = began_s
            return

    # Holding

    def renew(self) -> None:
        """Lets the lease begin anew. Raises OwnershipLostError, ContestedError, StartError."""
        with self._lock:
            began_s = self._now_s()
            ran_out = began_s - self._renewed_at_s >= self._owner.lease_s
            if not self._unsure and not ran_out:
                try:
                    self._store.renew_lease(self._own.lease_id)
                except LeaseLostError:
                    log.warning("owner.lease_gone")
                else:
                    self._renewed_at_s = began_s
                    return
            self._regain()

    def _regain(self) -> None:
        """Takes a lease again that ran out or was broken, if the record is still ours."""
        self._unsure = True
        if self._is_contested():
            self._look(None)
            raise ContestedError
        began_s = self._now_s()
        try:
            self._store.acquire_lease(self._own.lease_id, self._owner.lease_s)
        except LeaseHeldError as error:
            self._look(error)
            if self._contested_at_s is None:
                self._contested_at_s = began_s
            raise ContestedError from error
        try:
            self._look(None)
        except OwnershipLostError:
            self._store.release_lease(self._own.lease_id)
            raise
        self._renewed_at_s, self._unsure, self._contested_at_s = began_s, False, None

    def _is_contested(self) -> bool:
        """Whether somebody else may still be waiting for the lease."""
        if self._contested_at_s is None:
            return False
        return self._now_s() < self._contested_at_s + self._owner.lease_s + CONTEST_MARGIN_S

    def _look(self, cause: Exception | None) -> None:
        """Whether the record is ours. Raises OwnershipLostError where it is not."""
        root = self._store.read_root()
        record = None if root is None else parse_record(root, self._store.url)
        if root is None or record is None:
            raise StartError(
                f"the root object of {self._store.url} is gone", "put it back", Reason.STORE_FOREIGN
            ) from cause
        if record.token not in self._own.tokens:
            raise OwnershipLostError(record) from cause
        self._record, self._etag = record, root.etag

    def update(self, *, membership: Any) -> None:
        """Replaces the opaque JSON value in the record, durably. Raises OwnershipLostError, ContestedError, StartError."""
        with self._lock:
            self._change(replace(self._record, membership=membership))

    def end(self) -> None:
        """The server has stopped in order: any copy of the state directory made from now on may go on. Raises as update."""
        with self._lock:
            self._owner = replace(self._owner, ended=True)
            self._change(replace(self._record, owner=self._owner))
            self._store.release_lease(self._own.lease_id)

    def _change(self, record: RootRecord) -> None:
        for _ in range(ATTEMPTS):
            following = replace(record, token=self._new_id())
            try:
                root = self._swap(following, self._etag, self._own.lease_id)
            except LeaseLostError:
                self._regain()
            except RootChangedError:
                # Ours, whose reply was lost, or somebody else's.
                self._look(None)
                if self._record.token == following.token:
                    self._settled(following, self._etag)
                    return
            else:
                self._settled(following, root.etag)
                return
        raise StartError(f"the root object of {self._store.url} changed again and again")

    def _swap(self, record: RootRecord, etag: str | None, lease_id: str | None) -> Root:
        """Puts a record in place; its token is in the state directory first."""
        self._own = replace(self._own, tokens=(*self._own.tokens[-8:], record.token))
        self._state.write_own_facts(self._own)
        failpoint("owner.before_swap")
        data = record.encode()
        root = Root(data, self._store.swap_root(data, etag, lease_id))
        failpoint("owner.after_swap")
        return root

    def _settled(self, record: RootRecord, etag: str) -> None:
        """The record is known to stand: no other token is wanted any more."""
        self._record, self._etag = record, etag
        self._own = replace(self._own, tokens=(record.token,))
        self._state.write_own_facts(self._own)
