"""Epochs: each start of a file system takes a number of its own from the store, and thereby the ownership.

The root object holds `{"format", "fs_id", "epoch", "token"}`. To take an epoch is to swap it for one with the
next number, on the condition that nobody else did: of two racing starts each gets another number. The token
is fresh for every swap, so that one whose reply was lost recognises its own success when it reads the root
again.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog

from gateway.errors import Reason, StartError
from gateway.objects.container import ROOT_KEY, Root, RootChangedError, RootStore
from gateway.state import Identity, StateDir

log = structlog.get_logger(__name__)

FORMAT: Final = 1
MAX_EPOCH: Final = (1 << 23) - 1
ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class RootRecord:
    """What the root object says."""

    fs_id: bytes
    epoch: int
    token: str
    format: int = FORMAT

    def encode(self) -> bytes:
        return (json.dumps({**asdict(self), "fs_id": self.fs_id.hex()}, sort_keys=True) + "\n").encode()


def read_record(store: RootStore) -> RootRecord | None:
    """What the root object of a store says, None for a store without one. Raises StartError for a newer or
    damaged one.
    """
    root = store.read_root()
    return None if root is None else _parse(root, store.url)


def check_owner(store: RootStore, identity: Identity | None) -> RootRecord | None:
    """Whether a state directory and a store belong together, changing nothing; returns the store's record.

    `identity` None stands for a state directory not in use yet. Raises StartError where they do not.
    """
    record = read_record(store)
    _check(record, store.url, identity)
    return record


def take_epoch(store: RootStore, identity: Identity, token: str) -> int:
    """Takes the next epoch and returns it; from then on older owners are refused.

    `token` must be a text never used before. Makes the container and the root object on the first start.
    Raises StartError.
    """
    store.create()
    tried = RootRecord(identity.fs_id, 0, token)
    for _ in range(ATTEMPTS):
        root = store.read_root()
        record = None if root is None else _parse(root, store.url)
        if record is not None and record == tried:
            return tried.epoch
        _check(record, store.url, identity)
        tried = RootRecord(identity.fs_id, 1 if record is None else record.epoch + 1, token)
        if tried.epoch > MAX_EPOCH:
            raise StartError(
                f"the store {store.url} has used up its {MAX_EPOCH} epochs", "copy the files to a new store"
            )
        try:
            store.swap_root(tried.encode(), None if root is None else root.etag)
        except RootChangedError:
            log.info("epoch.raced", epoch=tried.epoch)
            continue
        return tried.epoch
    raise StartError(
        f"the root object of {store.url} changed under {ATTEMPTS} attempts to take it",
        "stop the other servers that start on this store",
        Reason.STORE_FOREIGN,
    )


def begin(state: StateDir, store: RootStore, token: str) -> tuple[bytes, int]:
    """Takes the epoch for a state directory: returns the file system's id and the epoch.

    After a crash anywhere in here the next start goes on: the identity is on disk before the store knows it,
    and is marked as started only after the store does.
    """
    identity = state.read_identity()
    if identity is None:
        raise StartError(
            f"{state.identity_file} is missing",
            "start the server with `caudal up`, which writes it",
            Reason.STATE_UNUSABLE,
        )
    epoch = take_epoch(store, identity, token)
    if not identity.started:
        state.write_identity(Identity(identity.fs_id, started=True))
    return identity.fs_id, epoch


def _check(record: RootRecord | None, url: str, identity: Identity | None) -> None:
    if record is None:
        if identity is not None and identity.started:
            raise StartError(
                f"the store {url} holds no file system, though this state directory has served one",
                "check --store: is it the one of the last start? Was the container emptied?",
                Reason.STORE_FOREIGN,
            )
        return
    if identity is None:
        raise StartError(
            f"the store {url} already holds a file system ({record.fs_id.hex()}), and this state directory has none",
            f"start with the --state that belongs to it; if its machine is lost, `caudal recover --store {url} --state NEW`;"
            f" for a new file system give another --store (a prefix will do: {url}/NAME)",
            Reason.STORE_FOREIGN,
        )
    if record.fs_id != identity.fs_id:
        raise StartError(
            f"the store {url} holds another file system ({record.fs_id.hex()}) than this state directory"
            f" ({identity.fs_id.hex()})",
            "give the --store, or the --state, that belongs to the other",
            Reason.STORE_FOREIGN,
        )


def _parse(root: Root, url: str) -> RootRecord:
    try:
        found: Any = json.loads(root.data)
        version = int(found["format"])
        if version > FORMAT:
            raise StartError(
                f"the store {url} was written by a newer version (format {version}; this one knows {FORMAT})",
                "install that version or a later one",
                Reason.NEWER_FORMAT,
            )
        return RootRecord(bytes.fromhex(found["fs_id"]), int(found["epoch"]), str(found["token"]), version)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StartError(
            f"the root object {ROOT_KEY} of {url} is damaged",
            "put back an older version of it (blob versions, or a copy), or give another --store",
            Reason.STORE_FOREIGN,
        ) from error
