"""The rules of access control lists, as pure functions: against plain restatements of what they must hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metadata import acl
from gateway.metadata.acl import Ace
from gateway.metadata.attributes import DIRECTORY, REGULAR
from gateway.metadata.errors import FsError

KINDS = st.sampled_from([DIRECTORY, REGULAR])
MODES = st.integers(0, 0o777)
WHO = st.sampled_from([(acl.USER, 1), (acl.USER, 2), (acl.GROUP, 1), (acl.GROUP, 2), (2, 0), (3, 0), (4, 0)])
ACES = st.builds(
    lambda kind, who, flags, mask: Ace(kind, who[0], flags & acl.FLAGS, mask & acl.MASK, who[1]),
    st.sampled_from([acl.ALLOW, acl.DENY]),
    WHO,
    st.integers(0, 255),
    st.integers(0, acl.MASK),
)
LISTS = st.lists(ACES, min_size=1, max_size=8).map(tuple)
CALLERS = st.fixed_dictionaries(
    {
        "is_owner": st.booleans(),
        "in_group": st.booleans(),
        "uid": st.sampled_from([1, 2, 3]),
        "gids": st.sets(st.sampled_from([1, 2, 3])),
    }
)
RWX = ((4, acl.READ_DATA), (2, acl.WRITE_DATA | acl.APPEND_DATA), (1, acl.EXECUTE))
OF_MODES = acl.READ_DATA | acl.WRITE_DATA | acl.APPEND_DATA | acl.EXECUTE | acl.DELETE_CHILD


EVERYONES = acl.READ_NAMED | acl.READ_ATTRIBUTES | acl.READ_ACL | acl.SYNCHRONIZE
OWNERS = EVERYONES | acl.WRITE_NAMED | acl.WRITE_ATTRIBUTES | acl.WRITE_ACL | acl.WRITE_OWNER


def denied(entries: acl.Acl, caller: dict[str, object]) -> int:
    """The bits of which an entry decides, and says no."""
    forbidding = [e._replace(type=acl.ALLOW if e.type == acl.DENY else acl.DENY) for e in entries]
    return acl.granted(forbidding, **caller)  # pyright: ignore[reportArgumentType]


def may(entries: acl.Acl, bit: int, caller: dict[str, object]) -> bool:
    """The RFC's sentence: entries in order, the first that applies and names the bit decides; no entry, no access."""
    for each in entries:
        applies = {
            acl.USER: each.id == caller["uid"],
            acl.GROUP: each.id in caller["gids"],  # pyright: ignore[reportOperatorIssue]
            acl.OWNER_AT: caller["is_owner"],
            acl.GROUP_AT: caller["in_group"],
            acl.EVERYONE_AT: True,
        }[each.who]
        if applies and each.mask & bit and not each.flags & acl.INHERIT_ONLY:
            return each.type == acl.ALLOW
    return False


@given(LISTS, CALLERS)
def test_what_is_granted_is_what_the_first_entry_says(entries: acl.Acl, caller: dict[str, object]) -> None:
    granted = acl.granted(entries, **caller)  # pyright: ignore[reportArgumentType]
    for shift in range(21):
        assert bool(granted >> shift & 1) == (
            bool(acl.MASK >> shift & 1) and may(entries, 1 << shift, caller)
        )


@given(LISTS)
def test_a_mode_never_shows_more_than_the_list_grants(entries: acl.Acl) -> None:
    mode = acl.mode_of(entries)
    for shift, is_owner, in_group in ((6, True, False), (3, False, True), (0, False, False)):
        granted = acl.granted(entries, is_owner=is_owner, in_group=in_group)
        for bit, mask in RWX:
            assert bool(mode >> shift & bit) == (granted & mask == mask)


@given(MODES, KINDS)
def test_the_list_of_a_mode_says_the_same(mode: int, kind: int) -> None:
    """Exactly what a check by mode bits does: the owner has his, be he in the group or not."""
    entries = acl.trivial(mode, kind)
    assert acl.mode_of(entries) == mode
    assert acl.is_trivial(entries, kind)
    for is_owner in (False, True):
        for in_group in (False, True):
            three = mode >> 6 if is_owner else mode >> 3 & 7 if in_group else mode & 7
            expected = sum(mask for bit, mask in RWX if three & bit)
            if three & 2 and kind == DIRECTORY:
                expected |= acl.DELETE_CHILD
            if is_owner and three & 2:
                expected |= acl.DELETE_CHILD
            assert acl.granted(entries, is_owner=is_owner, in_group=in_group) & OF_MODES == expected


@given(LISTS, MODES, KINDS, CALLERS)
def test_chmod(entries: acl.Acl, mode: int, kind: int, caller: dict[str, object]) -> None:
    after = acl.with_mode(entries, mode, kind)
    assert acl.mode_of(after) == mode
    assert acl.with_mode(after, mode, kind) == after
    # What is passed on stays, in its order.
    passed = [
        (e.type, e.who, e.mask, e.id, e.flags & acl.INHERITS) for e in entries if e.flags & acl.INHERITS
    ]
    assert [
        (e.type, e.who, e.mask, e.id, e.flags & acl.INHERITS) for e in after if e.flags & acl.INHERITS
    ] == passed
    now, before = (acl.granted(each, **caller) for each in (after, entries))  # pyright: ignore[reportArgumentType]
    if not caller["is_owner"]:
        # Whoever is not the owner has no more than the group's and the others' bits, be he named or not.
        group = acl.granted(acl.trivial(mode, kind), is_owner=False, in_group=True)
        other = acl.granted(acl.trivial(mode, kind), is_owner=False, in_group=False)
        assert not now & OF_MODES & ~(group | other)
    # No chmod lets anybody do what no mode speaks of, but for looking, what belongs to writing, and what owners may.
    fixed = OWNERS if caller["is_owner"] else EVERYONES
    if mode & 0o22:
        fixed |= acl.WRITE_NAMED | acl.WRITE_ATTRIBUTES
    assert not now & ~OF_MODES & ~before & ~fixed
    # What an entry forbids stays forbidden.
    assert not now & EVERYONES & ~before & denied(entries, caller)


@given(LISTS, MODES, KINDS)
def test_a_mode_that_shuts_the_group_out_shuts_out_whom_the_list_names(
    entries: acl.Acl, mode: int, kind: int
) -> None:
    after = acl.with_mode(entries, mode & 0o700, kind)
    for uid in (1, 2):
        assert (
            not acl.granted(after, is_owner=False, in_group=False, uid=uid, gids={1, 2})
            & (OF_MODES | acl.WRITE_ACL | acl.WRITE_OWNER)
            & ~acl.granted([e for e in after if e.who >= acl.OWNER_AT], is_owner=False, in_group=False)
        )


@given(LISTS, st.lists(MODES, min_size=5, max_size=20), KINDS)
def test_lists_do_not_grow_with_the_number_of_chmods(entries: acl.Acl, modes: list[int], kind: int) -> None:
    after = entries
    for mode in modes:
        after = acl.with_mode(after, mode, kind)
    assert len(after) <= 2 * len(entries) + 5


@given(LISTS, MODES, KINDS)
def test_inheritance(entries: acl.Acl, mode: int, kind: int) -> None:
    made = acl.inherited(entries, kind, mode)
    wanted = [
        e
        for e in entries
        if (e.flags & acl.FILE_INHERIT and (kind == REGULAR or not e.flags & acl.NO_PROPAGATE))
        or (kind == DIRECTORY and e.flags & acl.DIRECTORY_INHERIT)
    ]
    taken = [e for e in made if e.flags & acl.INHERITED]
    assert [(e.type, e.who, e.mask, e.id) for e in taken] == [(e.type, e.who, e.mask, e.id) for e in wanted]
    assert bool(made) == bool(wanted)
    for old, new in zip(wanted, taken, strict=True):
        passes_on = kind == DIRECTORY and not old.flags & acl.NO_PROPAGATE
        assert new.flags & acl.INHERITS == (old.flags & acl.INHERITS if passes_on else 0)
        for_files_only = kind == DIRECTORY and not old.flags & acl.DIRECTORY_INHERIT
        assert bool(new.flags & acl.INHERIT_ONLY) == for_files_only


@given(LISTS)
def test_the_form_on_disk(entries: acl.Acl) -> None:
    content = acl.encode(entries)
    assert acl.decode(content) == entries
    assert acl.decode(acl.encode(acl.checked(content, DIRECTORY))) == entries


@given(st.one_of(st.binary(max_size=100), st.tuples(LISTS, st.integers(0, 99), st.integers(0, 255))))
def test_anything_else_is_refused(content: bytes | tuple[acl.Acl, int, int]) -> None:
    if isinstance(content, tuple):
        entries, at, byte = content
        good = bytearray(acl.encode(entries))
        good[at % len(good)] = byte
        content = bytes(good)
    for read in (acl.decode, lambda each: acl.checked(each, REGULAR)):
        try:
            entries = read(content)
        except FsError:
            continue
        assert acl.decode(acl.encode(entries)) == entries


def test_a_later_version_lets_nobody_in() -> None:
    content = b"\2" + acl.encode(acl.trivial(0o777, REGULAR))[1:]
    with pytest.raises(FsError, match="version 2"):
        acl.decode(content)
