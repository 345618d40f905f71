"""NFSv4 access control lists: their form on disk (docs/formats/acl.md), and RFC 8881, 6, on them and modes.

Pure functions of plain values. Which rules were taken where the RFC leaves a choice: docs/decisions/acls.md.
"""

import errno
import struct
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from gateway.metadata.attributes import DIRECTORY, SYMLINK
from gateway.metadata.errors import FsError

XATTR_ACL: Final = b"caudal.acl"
"""The name under which an inode's list is kept beside its extended attributes; clients' names begin with `user.`."""

MODE_ACL: Final = 0x10000
"""In a row's mode, above all bits of clients: the inode has a list of its own."""

ENTRIES_MAX: Final = 400
"""That a client may set."""
STORED_MAX: Final = 1000
"""A change of the mode may part what is obeyed from what is passed on, and adds a few."""
VERSION: Final = 1

ALLOW: Final = 0
DENY: Final = 1

USER: Final = 0
GROUP: Final = 1
OWNER_AT: Final = 2
GROUP_AT: Final = 3
EVERYONE_AT: Final = 4
_CLASSES: Final = (OWNER_AT, GROUP_AT, EVERYONE_AT)

FILE_INHERIT: Final = 0x01
DIRECTORY_INHERIT: Final = 0x02
NO_PROPAGATE: Final = 0x04
INHERIT_ONLY: Final = 0x08
INHERITED: Final = 0x80
INHERITS: Final = FILE_INHERIT | DIRECTORY_INHERIT
FLAGS: Final = INHERITS | NO_PROPAGATE | INHERIT_ONLY | INHERITED

READ_DATA: Final = 0x01
WRITE_DATA: Final = 0x02
APPEND_DATA: Final = 0x04
READ_NAMED: Final = 0x08
WRITE_NAMED: Final = 0x10
EXECUTE: Final = 0x20
DELETE_CHILD: Final = 0x40
READ_ATTRIBUTES: Final = 0x80
WRITE_ATTRIBUTES: Final = 0x100
DELETE: Final = 0x10000
READ_ACL: Final = 0x20000
WRITE_ACL: Final = 0x40000
WRITE_OWNER: Final = 0x80000
SYNCHRONIZE: Final = 0x100000
MASK: Final = 0x1F01FF

_R: Final = READ_DATA
_W: Final = WRITE_DATA | APPEND_DATA
_MODE_MASKS: Final = _R | _W | EXECUTE | DELETE_CHILD
_EVERYONES: Final = READ_NAMED | READ_ATTRIBUTES | READ_ACL | SYNCHRONIZE
_OWNERS: Final = _EVERYONES | WRITE_NAMED | WRITE_ATTRIBUTES | WRITE_ACL | WRITE_OWNER

_HEADER: Final = struct.Struct("<BBH")
_ENTRY: Final = struct.Struct("<BBHII")


class Ace(NamedTuple):
    """`who`: USER and GROUP with an id, or one of the classes (id 0). `mask` and `flags` are the RFC's bits."""

    type: int
    who: int
    flags: int
    mask: int
    id: int = 0


Acl = tuple[Ace, ...]

NOBODY: Final[Acl] = (Ace(ALLOW, EVERYONE_AT, 0, 0),)


def encode(acl: Sequence[Ace]) -> bytes:
    return _HEADER.pack(VERSION, 0, len(acl)) + b"".join(_ENTRY.pack(*ace) for ace in acl)


def _parse(content: bytes) -> Acl:
    """Raises ValueError."""
    if len(content) < _HEADER.size:
        raise ValueError(f"an access control list of {len(content)} bytes is cut off")
    version, _, count = _HEADER.unpack_from(content)
    if version != VERSION:
        raise ValueError(f"an access control list of version {version}, which a later release may read")
    if len(content) != _HEADER.size + count * _ENTRY.size or count > STORED_MAX:
        raise ValueError(f"an access control list of {count} entries in {len(content)} bytes")
    acl = tuple(map(Ace._make, _ENTRY.iter_unpack(content[_HEADER.size :])))
    if not all(map(_is_valid, acl)):
        raise ValueError("an access control list has entries that mean nothing")
    return acl


def decode(content: bytes) -> Acl:
    """A list that was stored. Raises FsError(EIO): it is of a later version, or damaged; nobody is let in then."""
    try:
        return _parse(content)
    except ValueError as error:
        raise FsError(errno.EIO, str(error)) from error


def checked(content: bytes, kind: int) -> Acl:
    """A list that a client sets. What it would pass on, only directories keep.

    Raises EINVAL (an entry that means nothing), ENOSPC (more than 400 entries).
    """
    try:
        acl = _parse(content)
    except ValueError as error:
        raise FsError(errno.EINVAL, str(error)) from error
    if len(acl) > ENTRIES_MAX:
        raise FsError(errno.ENOSPC)
    if kind != DIRECTORY:
        acl = tuple(ace._replace(flags=ace.flags & INHERITED) for ace in acl if not ace.flags & INHERIT_ONLY)
    # None is left, or none was sent: nobody may anything. The owner can still change the list.
    return acl or NOBODY


def _is_valid(ace: Ace) -> bool:
    return (
        ace.type in (ALLOW, DENY)
        and ace.who <= EVERYONE_AT
        and not ace.flags & ~FLAGS
        and not ace.mask & ~MASK
        and (ace.who in (USER, GROUP) or ace.id == 0)
    )


# What a list lets do


def granted(
    acl: Iterable[Ace], *, is_owner: bool, in_group: bool, uid: int | None = None, gids: Collection[int] = ()
) -> int:
    """All bits that a list lets one do: of each bit the first entry decides that applies and names it (6.2.1)."""
    undecided, allowed = MASK, 0
    for ace in acl:
        if ace.flags & INHERIT_ONLY or not _applies(ace, is_owner, in_group, uid, gids):
            continue
        if ace.type == ALLOW:
            allowed |= ace.mask & undecided
        undecided &= ~ace.mask
    return allowed


def _applies(ace: Ace, is_owner: bool, in_group: bool, uid: int | None, gids: Collection[int]) -> bool:
    match ace.who:
        case 0:
            return ace.id == uid
        case 1:
            return ace.id in gids
        case 2:
            return is_owner
        case 3:
            return in_group
        case _:
            return True


# Modes


def mode_of(acl: Sequence[Ace]) -> int:
    """The nine bits that a list comes to (6.3.2): w where one may both overwrite and append."""
    mode = 0
    for is_owner, in_group in ((True, False), (False, True), (False, False)):
        may = granted(acl, is_owner=is_owner, in_group=in_group)
        mode = mode << 3 | bool(may & _R) << 2 | (may & _W == _W) << 1 | bool(may & EXECUTE)
    return mode


def _bits(three: int, kind: int) -> int:
    """The access that rwx stand for."""
    write = _W | (DELETE_CHILD if kind == DIRECTORY else 0)
    return (_R if three & 4 else 0) | (write if three & 2 else 0) | (EXECUTE if three & 1 else 0)


def _grants(three: int, kind: int) -> int:
    """What rwx let a class do. Who may write has all that Windows calls writing, else SMB clients could not open for it;
    times of an object without a list are the owner's to set all the same, which the shim sees to."""
    return _bits(three, kind) | _EVERYONES | (WRITE_NAMED | WRITE_ATTRIBUTES if three & 2 else 0)


def trivial(mode: int, kind: int) -> Acl:
    """The list that says what a mode says, and no more. The shim makes the same in C: acl.c.

    The owner's has two bits that SMB clients ask for with full control, and that let nothing be done where there is no list
    of its own: to delete the object, and what is in a file.
    """
    return tuple(
        ace._replace(mask=ace.mask | DELETE | (DELETE_CHILD if ace.mask & WRITE_DATA else 0))
        if ace.who == OWNER_AT and ace.type == ALLOW
        else ace
        for ace in with_mode((), mode, kind)
    )


def with_mode(acl: Sequence[Ace], mode: int, kind: int) -> Acl:
    """A list after chmod, whose mode is then `mode` (6.4.1); the same one where it is already, and lets nobody named do
    more.

    What a mode speaks of is said anew for the three classes, first what the owner may not, at the end the rest. Bits that
    no mode speaks of stay where they are, so that nobody gets one that an entry before forbids. Entries that let named
    users and groups do something keep what the group may do (ZFS: aclmode=groupmask), and where it may nothing, no more
    than to look; those that forbid stay. What new objects inherit stays as it is.
    """
    mode &= 0o777
    owner, group, other = (_bits(mode >> shift & 7, kind) for shift in (6, 3, 0))
    named = ~_MODE_MASKS | group if group else _EVERYONES
    if acl and mode_of(acl) == mode and not any(_lets_named(ace) & ~named for ace in acl):
        return tuple(acl)
    kept: list[Ace] = []
    for ace in acl:
        limit = ~_MODE_MASKS if ace.who in _CLASSES else named if ace.type == ALLOW else MASK
        if not ace.flags & INHERIT_ONLY and ace.mask & limit:
            kept.append(ace._replace(flags=ace.flags & INHERITED, mask=ace.mask & limit))
    # After the last that forbids the order says nothing: there each class has one entry, however many chmods there were.
    forbidding = max((at + 1 for at, ace in enumerate(kept) if ace.type == DENY), default=0)
    more = dict.fromkeys(_CLASSES, 0)
    for ace in kept[forbidding:]:
        if ace.who in _CLASSES:
            more[ace.who] |= ace.mask
    obeyed = (
        Ace(DENY, OWNER_AT, 0, (group | other) & ~owner),
        *(ace for at, ace in enumerate(kept) if at < forbidding or ace.who not in _CLASSES),
        Ace(ALLOW, OWNER_AT, 0, owner | _OWNERS | more[OWNER_AT]),
        Ace(DENY, GROUP_AT, 0, other & ~group),
        Ace(ALLOW, GROUP_AT, 0, _grants(mode >> 3 & 7, kind) | more[GROUP_AT]),
        Ace(ALLOW, EVERYONE_AT, 0, _grants(mode & 7, kind) | more[EVERYONE_AT]),
    )
    passed_on = (ace._replace(flags=ace.flags | INHERIT_ONLY) for ace in acl if ace.flags & INHERITS)
    return (*(ace for ace in obeyed if ace.mask), *passed_on)


def _lets_named(ace: Ace) -> int:
    """What an entry lets a named user or group do."""
    obeyed = ace.type == ALLOW and ace.who not in _CLASSES and not ace.flags & INHERIT_ONLY
    return ace.mask if obeyed else 0


def is_trivial(acl: Sequence[Ace], kind: int) -> bool:
    """Whether a list says no more than its mode does."""
    if any(ace.who not in _CLASSES or ace.flags & ~INHERITED for ace in acl):
        return False
    plain = trivial(mode_of(acl), kind)
    return all(
        granted(acl, is_owner=o, in_group=g) == granted(plain, is_owner=o, in_group=g)
        for o in (False, True)
        for g in (False, True)
    )


# Inheritance


def _is_for(ace: Ace, kind: int) -> bool:
    if kind == DIRECTORY:
        # Entries for files go on through directories.
        return bool(
            ace.flags & DIRECTORY_INHERIT or (ace.flags & FILE_INHERIT and not ace.flags & NO_PROPAGATE)
        )
    return kind != SYMLINK and bool(ace.flags & FILE_INHERIT)


def inherited(acl: Sequence[Ace], kind: int, mode: int) -> Acl:
    """The list of a new object in a directory (6.4.3) that was asked for with a mode; empty: nothing is passed on to it.

    Where entries of the three classes are inherited they say what the mode would: a umask does not take away what the
    directory gives. The owner's are made of the mode where only others' are inherited.
    """
    own: list[Ace] = []
    for ace in acl:
        if not _is_for(ace, kind):
            continue
        if kind != DIRECTORY or ace.flags & NO_PROPAGATE:
            own.append(ace._replace(flags=INHERITED))
        elif ace.flags & DIRECTORY_INHERIT:
            own.append(ace._replace(flags=ace.flags & INHERITS | INHERITED))
        else:
            own.append(ace._replace(flags=FILE_INHERIT | INHERIT_ONLY | INHERITED))
    if not own:
        return ()
    given = {ace.who for ace in own if ace.who in _CLASSES and not ace.flags & INHERIT_ONLY}
    wanted = {OWNER_AT} - given if given else set(_CLASSES)
    own += (ace for ace in trivial(mode, kind) if ace.who in wanted)
    return tuple(own)
