"""The root object's record: which file system a store holds, which epoch it is in, and who owns it.

`{"format", "fs_id", "epoch", "token", "owner", "membership"}`, see docs/formats/root.md. Each start takes the next epoch by
swapping the record on the condition that nobody else did. The token is fresh for every swap: one whose reply was lost
recognises its own success by it, and a state directory knows by it whether it was the last one to be served.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, cast

from gateway.errors import Reason, StartError
from gateway.objects.container import ROOT_KEY, Root, RootStore
from gateway.state import Identity, OwnFacts

FORMAT: Final = 1
MAX_EPOCH: Final = (1 << 23) - 1
_KNOWN: Final = frozenset({"format", "fs_id", "epoch", "token", "owner", "membership"})


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """Who owns a file system, for people; `place` for comparison: where its state directory stands.

    since_s: wall clock of the start. ended: it stopped in order, and `token` stands in its state directory.
    """

    place: str
    host: str
    state: str
    address: str = ""
    pid: int = 0
    since_s: float = 0.0
    lease_s: int = 0
    ended: bool = False

    def name(self) -> str:
        """The owner in an operator's words."""
        where = f"{self.host} ({self.address})" if self.address else self.host
        since = datetime.fromtimestamp(self.since_s, UTC).isoformat(" ", "seconds")
        return f"{where}, state directory {self.state}, process {self.pid}, since {since}"


@dataclass(frozen=True, slots=True)
class RootRecord:
    """What the root object says.

    owner: None where a version wrote it that knew no owners. membership: opaque JSON value of the journal's mirrors.
    other: what a later version put beside, kept as it is.
    """

    fs_id: bytes
    epoch: int
    token: str
    owner: OwnerRecord | None = None
    membership: Any = None
    format: int = FORMAT
    other: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def encode(self) -> bytes:
        """The object's bytes."""
        fields: dict[str, Any] = {
            **self.other,
            "format": self.format,
            "fs_id": self.fs_id.hex(),
            "epoch": self.epoch,
            "token": self.token,
        }
        if self.owner is not None:
            fields["owner"] = asdict(self.owner)
        if self.membership is not None:
            fields["membership"] = self.membership
        return (json.dumps(fields, sort_keys=True) + "\n").encode()

    def next(self, token: str, owner: OwnerRecord, url: str) -> "RootRecord":
        """The record of the start after this one. Raises StartError when there is none."""
        if self.epoch >= MAX_EPOCH:
            raise StartError(
                f"the store {url} has used up its {MAX_EPOCH} epochs", "copy the files to a new store"
            )
        return replace(self, epoch=self.epoch + 1, token=token, owner=owner)


def read_record(store: RootStore) -> RootRecord | None:
    """What the root object of a store says, None for a store without one. Raises StartError for a newer or
    damaged one.
    """
    root = store.read_root()
    return None if root is None else parse_record(root, store.url)


def check_owner(
    store: RootStore,
    identity: Identity | None,
    own: OwnFacts | None = None,
    place: str = "",
    *,
    take_over: bool = False,
) -> RootRecord | None:
    """Whether a state directory may own what is in a store, changing nothing; returns the store's record.

    `identity` None stands for a state directory not in use yet; `own` is what it remembers of its ownership, `place` where
    it stands. Raises StartError where it may not.
    """
    root = store.read_root()
    record = None if root is None else parse_record(root, store.url)
    check_identity(record, store.url, identity, leased=root is not None and root.leased)
    if root is not None and record is not None and not take_over:
        check_claim(root, record, store.url, own, place)
    return record


def check_identity(
    record: RootRecord | None, url: str, identity: Identity | None, *, leased: bool = False
) -> None:
    """Raises StartError where a state directory belongs to another file system than a store holds."""
    if record is None:
        if identity is not None and identity.started:
            raise StartError(
                f"the store {url} holds no file system, though this state directory has served one",
                "check --store: is it the one of the last start? Was the container emptied?",
                Reason.STORE_FOREIGN,
            )
        return
    if identity is None:
        owner = f", owned by {record.owner.name()}" if leased and record.owner else ""
        take_over = " --take-over" if leased else ""
        raise StartError(
            f"the store {url} already holds a file system ({record.fs_id.hex()}{owner}), and this state directory has none",
            "start with the --state that belongs to it; bring the file system back into a new one with"
            f" `caudal recover --store {url} --state NEW{take_over}`;"
            f" or give another --store (a prefix will do: {url}/NAME)",
            Reason.STORE_FOREIGN,
        )
    if record.fs_id != identity.fs_id:
        raise StartError(
            f"the store {url} holds another file system ({record.fs_id.hex()}) than this state directory"
            f" ({identity.fs_id.hex()})",
            "give the --store, or the --state, that belongs to the other",
            Reason.STORE_FOREIGN,
        )


def check_claim(root: Root, record: RootRecord, url: str, own: OwnFacts | None, place: str) -> None:
    """Raises StartError where another state directory than this one has the last word on the file system.

    It has not, if it stands where the owner's stands and knows the owner's token; or if the owner has stopped in order and
    this is a copy of its state directory made since.
    """
    owner = record.owner
    if owner is None:
        return
    known = own is not None and record.token in own.tokens
    if known and owner.place == place:
        return
    if root.leased and owner.place != place:
        raise in_use(record, url)
    if not known or not owner.ended:
        raise StartError(
            f"the file system in {url} was last served by {owner.name()}, and this state directory may lack what was"
            " acknowledged there",
            "start it there; or, if that is gone, take the file system over with --take-over:"
            " what only its journal held is lost",
            Reason.OWNED,
        )


def in_use(record: RootRecord | None, url: str) -> StartError:
    """The refusal that names the owner."""
    owner = record.owner if record else None
    if owner is None:
        return StartError(
            f"the root object of {url} is leased by somebody else",
            "end that lease, or use --take-over, which breaks it",
            Reason.OWNED,
        )
    return StartError(
        f"the file system in {url} is owned by {owner.name()}",
        f"stop it there (caudal down --state {owner.state}); if it has died, its lease ends within {owner.lease_s} s;"
        " --take-over takes the file system from it",
        Reason.OWNED,
    )


def parse_record(root: Root, url: str) -> RootRecord:
    """The record in a root object. Raises StartError for a newer or damaged one."""
    try:
        found: Any = json.loads(root.data)
        version = int(found["format"])
        if version > FORMAT:
            raise StartError(
                f"the store {url} was written by a newer version (format {version}; this one knows {FORMAT})",
                "install that version or a later one",
                Reason.NEWER_FORMAT,
            )
        return RootRecord(
            bytes.fromhex(found["fs_id"]),
            int(found["epoch"]),
            str(found["token"]),
            _parse_owner(found.get("owner")),
            found.get("membership"),
            version,
            {key: value for key, value in found.items() if key not in _KNOWN},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise StartError(
            f"the root object {ROOT_KEY} of {url} is damaged",
            "put back an older version of it (blob versions, or a copy), or give another --store",
            Reason.STORE_FOREIGN,
        ) from error


def _parse_owner(found: object) -> OwnerRecord | None:
    if found is None:
        return None
    fields = cast("dict[str, Any]", found)
    since_s = float(fields["since_s"])
    datetime.fromtimestamp(since_s, UTC)  # a time that can be told
    return OwnerRecord(
        place=str(fields["place"]),
        host=str(fields["host"]),
        state=str(fields["state"]),
        address=str(fields["address"]),
        pid=int(fields["pid"]),
        since_s=since_s,
        lease_s=int(fields["lease_s"]),
        ended=bool(fields["ended"]),
    )
