"""Which keys a store's objects need: the store itself remembers.

Before anything is sealed with a key, an object `caudal/keys/ID` (the id in hexadecimal) is put: a few bytes sealed with that
key. So a start without the key, or with another one of the same name, is refused instead of failing at the first read,
on an empty machine too. It says nothing about the key but its id.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from gateway._core import KeyRing, PackStore, SealError, failpoint, sealed_with
from gateway.errors import CaudalError, Reason, StartError
from gateway.objects.key_file import KeyFile

PREFIX: Final = "caudal/keys"
SEALED_BIT: Final = 1 << 39
"""Of a pack's number: it is sealed."""
# The beginning of a sealed pack or object that names the key.
NAMED_BYTES: Final = 48
_PROOF: Final = b"caudal"
_MARKER_BYTES: Final = 4096


def ring_of(file: KeyFile | None, fs_id: bytes) -> KeyRing | None:
    """The ring of a file system with the keys of a file."""
    return None if file is None else KeyRing(fs_id, file.keys, seals=file.seals)


def needed(store: PackStore) -> dict[str, bytes]:
    """Ids of the keys that something may be sealed with, each with what proves it. The container must be there.

    Raises StoreError.
    """
    found: dict[str, bytes] = {}
    for key, _ in store.list_objects(PREFIX):
        proof = store.read_object(key, _MARKER_BYTES)
        name = key.rpartition("/")[2]
        if proof is not None:
            found[bytes.fromhex(name).decode("ascii", "replace")] = proof
    return found


def check(store: PackStore, file: KeyFile | None, ring: KeyRing | None) -> None:
    """Raises StartError (KEY_MISSING, KEY_WRONG), which names the key, where one that the store needs is lacking."""
    for key_id, proof in sorted(needed(store).items()):
        if file is None or ring is None:
            raise StartError(
                f"the file system is encrypted, and no key file was given; it needs the key {key_id}",
                "give its key file with --encryption-key",
                Reason.KEY_MISSING,
            )
        if key_id not in file.ids:
            raise StartError(
                f"the file system needs the key {key_id}, which the key file {file.path} does not have",
                f"add the line of {key_id} to it, below the current key; a key that nothing needs any more is taken out by"
                " `caudal key retire`",
                Reason.KEY_MISSING,
            )
        try:
            ring.open(proof, _purpose(key_id))
        except SealError:
            raise StartError(
                f"the key {key_id} in {file.path} is not the one that this file system is encrypted with",
                "bring back the right key file",
                Reason.KEY_WRONG,
            ) from None


def remember(store: PackStore, ring: KeyRing | None) -> None:
    """Lets the store remember the current key, durably; only then may that seal packs. Raises StoreError."""
    current = None if ring is None else ring.current
    if ring is not None and current is not None:
        failpoint("keys.before_remember")
        store.put_object(_marker(current), ring.seal(_PROOF, _purpose(current)))
        # A crash here leaves a key that the store asks for and that nothing is sealed with yet: it can be retired.
        failpoint("keys.after_remember")


def forget(store: PackStore, key_id: str) -> None:
    """Nothing in the store needs this key any more: see `in_use`."""
    store.delete_object(_marker(key_id))


def _marker(key_id: str) -> str:
    return f"{PREFIX}/{key_id.encode().hex()}"


def _purpose(key_id: str) -> str:
    return f"proof of the key {key_id}"


def packs_by_key(store: PackStore) -> Iterator[tuple[int, str | None]]:
    """All packs, each with the id of its key; None: it is not sealed. A small read for each sealed pack."""
    for pack, _bytes, _modified_s in store.list_packs():
        if not pack & SEALED_BIT:
            yield pack, None
            continue
        start = store.read_object(f"packs/{pack & 0xFF:02x}/{pack:016x}", NAMED_BYTES)
        # None: deleted since the list was taken.
        if start is not None:
            yield pack, sealed_with(start)


def in_use(store: PackStore) -> Counter[str]:
    """How many packs and other objects are sealed with each key; the proofs do not count. Raises StoreError."""
    found: Counter[str] = Counter(key_id for _, key_id in packs_by_key(store) if key_id is not None)
    for key, _ in store.list_objects(""):
        if not key.startswith((f"{PREFIX}/", "packs/")):
            start = store.read_object(key, NAMED_BYTES)
            key_id = None if start is None else sealed_with(start)
            if key_id is not None:
                found[key_id] += 1
    return found


def check_retirable(store: PackStore, key_id: str) -> None:
    """Raises CaudalError where something in the store is sealed with the key."""
    if uses := in_use(store)[key_id]:
        raise CaudalError(
            f"{uses} objects in the store are sealed with the key {key_id}",
            "`caudal key rewrite` seals them anew; backups and packs without live data go after their time",
        )
