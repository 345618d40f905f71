"""Operations on objects of every kind, most of them the wrong one."""

import pytest

from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs4_ops import (
    BADTYPE,
    EXIST,
    INVAL,
    ISDIR,
    NOENT,
    NOTDIR,
    NOTEMPTY,
    OK,
    STALE,
    SYMLINK,
    Op,
    lookup,
    putfh,
    savefh,
)
from tests.ganesha.nfs4_session import Create, Session, status_of

pytestmark = pytest.mark.ganesha

KINDS = {
    "file": ops.REG,
    "directory": ops.DIR,
    "link": ops.LNK,
    "fifo": ops.FIFO,
    "socket": ops.SOCK,
    "block": ops.BLK,
    "character": ops.CHR,
}
# What an operation that wants a directory answers on each kind.
NO_DIRECTORY = {name: SYMLINK if name == "link" else NOTDIR for name in KINDS if name != "directory"}
# What an operation that wants a file's data answers on each kind.
NO_FILE = {name: ISDIR if name == "directory" else INVAL for name in KINDS if name != "file"}
# What OPEN answers on each kind.
NOT_OPENED = {name: ISDIR if name == "directory" else SYMLINK for name in KINDS if name != "file"}


def make(session: Session, place: bytes, kind: str, name: bytes = b"object") -> bytes:
    device = {"device": (1, 3)} if kind in ("block", "character") else {}
    return session.make(place, name, KINDS[kind], **device)


@pytest.mark.parametrize("kind", NO_DIRECTORY)
def test_what_is_no_directory_holds_no_names(session: Session, place: bytes, kind: str) -> None:
    made, file = make(session, place, kind), session.make(place, b"file", ops.REG)
    expected = NO_DIRECTORY[kind]
    inside: dict[str, tuple[Op, ...]] = {
        "lookup": (putfh(made), lookup(b"a")),
        "lookupp": (putfh(made), ops.lookupp()),
        "create": (putfh(made), ops.create(ops.DIR, b"a", {ops.MODE: 0o755})),
        "remove": (putfh(made), ops.remove(b"a")),
        "link into": (putfh(file), savefh(), putfh(made), ops.link(b"a")),
        "rename to": (putfh(place), savefh(), putfh(made), ops.rename(b"file", b"a")),
        "readdir": (putfh(made), ops.readdir()),
    }
    found = {name: status_of(session.run, *operations) for name, operations in inside.items()}
    assert found == dict.fromkeys(inside, expected)
    assert status_of(session.open, made, b"a", create=Create.unchecked()) == expected
    away = (putfh(made), savefh(), putfh(place), ops.rename(b"a", b"b"))
    assert status_of(session.run, *away) in (NOTDIR, expected)


@pytest.mark.parametrize("kind", NO_FILE)
def test_what_is_no_file_has_no_data(session: Session, place: bytes, kind: str) -> None:
    made = make(session, place, kind)
    before = session.attributes(made, ops.CHANGE, ops.SIZE, ops.MTIME)
    data: dict[str, Op] = {
        "read": ops.read(0, 10),
        "write": ops.write(0, b"abc"),
        "commit": ops.commit(),
        "size": ops.setattr_({ops.SIZE: 3}),
    }
    found = {name: status_of(session.run, putfh(made), operation) for name, operation in data.items()}
    assert found == dict.fromkeys(data, NO_FILE[kind])
    assert session.attributes(made, ops.CHANGE, ops.SIZE, ops.MTIME) == before
    assert status_of(session.test_lock, made, ops.READ_LT, 0, 10) == NO_FILE[kind]


@pytest.mark.parametrize("kind", NOT_OPENED)
def test_only_files_are_opened(session: Session, place: bytes, kind: str) -> None:
    make(session, place, kind)
    for create in (b"", Create.unchecked(), Create.unchecked({ops.SIZE: 0}), Create.exclusive(b"verifier")):
        assert status_of(session.open, place, b"object", create=create) == NOT_OPENED[kind]
    assert status_of(session.open, place, b"object", create=Create.guarded()) == EXIST


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_of_every_kind(session: Session, place: bytes, kind: str) -> None:
    made = make(session, place, kind)
    session.run(putfh(made), ops.setattr_({ops.MODE: 0o640, ops.OWNER: "12", ops.GROUP: "13"}))
    session.run(putfh(made), ops.setattr_({ops.ATIME_SET: (-5, 6), ops.MTIME_SET: (2**33, 999_999_999)}))
    found = session.attributes(
        made, ops.TYPE, ops.MODE, ops.OWNER, ops.GROUP, ops.ATIME, ops.MTIME, ops.RAWDEV
    )
    assert (found[ops.TYPE], found[ops.MODE], found[ops.OWNER], found[ops.GROUP]) == (
        KINDS[kind],
        0o640,
        "12",
        "13",
    )
    assert (found[ops.ATIME], found[ops.MTIME]) == ((-5, 6), (2**33, 999_999_999))
    assert found[ops.RAWDEV] == ((1, 3) if kind in ("block", "character") else (0, 0))
    assert (status_of(session.run, putfh(made), ops.readlink()) == OK) == (kind == "link")
    same = (putfh(place), savefh(), putfh(place), ops.rename(b"object", b"object"))
    before = session.attributes(place, ops.CHANGE)
    assert status_of(session.run, *same) == OK
    assert session.attributes(place, ops.CHANGE) == before


@pytest.mark.parametrize("kind", KINDS)
def test_links_to_every_kind_but_directories(session: Session, place: bytes, kind: str) -> None:
    made = make(session, place, kind)
    status = status_of(session.run, putfh(made), savefh(), putfh(place), ops.link(b"second"))
    assert status == (ISDIR if kind == "directory" else OK)
    if kind == "directory":
        return
    assert session.attributes(made, ops.NUMLINKS)[ops.NUMLINKS] == 2
    session.run(putfh(place), ops.remove(b"object"))
    assert session.attributes(made, ops.NUMLINKS)[ops.NUMLINKS] == 1
    # Two names of one object: a rename of one over the other does nothing.
    session.run(putfh(made), savefh(), putfh(place), ops.link(b"third"))
    session.run(putfh(place), savefh(), putfh(place), ops.rename(b"second", b"third"))
    assert session.attributes(made, ops.NUMLINKS)[ops.NUMLINKS] == 2


@pytest.mark.parametrize("over", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_rename_over_another(session: Session, place: bytes, kind: str, over: str) -> None:
    moved, victim = make(session, place, kind, b"from"), make(session, place, over, b"to")
    status = status_of(session.run, putfh(place), savefh(), putfh(place), ops.rename(b"from", b"to"))
    if kind == "directory" and over != "directory":
        assert status == NOTDIR
    elif over == "directory" and kind != "directory":
        assert status == ISDIR
    else:
        assert status == OK
        assert session.run(putfh(place), lookup(b"to"), ops.getfh())[-1] == moved
        assert status_of(session.run, putfh(place), lookup(b"from")) == NOENT
        assert status_of(session.run, putfh(victim), ops.getattr_(ops.TYPE)) == STALE


def test_directories_that_are_in_the_way(session: Session, place: bytes) -> None:
    full, empty = session.make(place, b"full"), session.make(place, b"empty")
    session.make(full, b"in")
    assert status_of(session.run, putfh(place), ops.remove(b"full")) == NOTEMPTY
    over = (putfh(place), savefh(), putfh(place), ops.rename(b"empty", b"full"))
    assert status_of(session.run, *over) == NOTEMPTY
    into = (putfh(place), savefh(), putfh(full), ops.rename(b"full", b"below"))
    assert status_of(session.run, *into) == INVAL
    below = session.run(putfh(full), lookup(b"in"), ops.getfh())[-1]
    deeper = (putfh(place), savefh(), putfh(below), ops.rename(b"full", b"below"))
    assert status_of(session.run, *deeper) == INVAL
    assert status_of(session.run, putfh(place), ops.create(ops.DIR, b"empty", {})) == EXIST
    assert session.run(putfh(empty), ops.lookupp(), ops.getfh())[-1] == place
    session.run(putfh(place), savefh(), putfh(full), ops.rename(b"empty", b"moved"))
    assert session.run(putfh(empty), ops.lookupp(), ops.getfh())[-1] == full
    assert session.attributes(place, ops.NUMLINKS)[ops.NUMLINKS] == 3
    assert session.attributes(full, ops.NUMLINKS)[ops.NUMLINKS] == 4


@pytest.mark.parametrize("kind", [ops.REG, 8, 9, 99])
def test_create_makes_only_its_kinds(session: Session, place: bytes, kind: int) -> None:
    assert status_of(session.run, putfh(place), ops.create(kind, b"new", {})) == BADTYPE


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_handle_of_what_is_gone(session: Session, place: bytes, kind: str) -> None:
    made = make(session, place, kind)
    session.run(putfh(place), ops.remove(b"object"))
    gone: dict[str, Op] = {
        "getattr": ops.getattr_(ops.TYPE),
        "access": ops.access(1),
        "setattr": ops.setattr_({ops.MODE: 0o600}),
    }
    if kind == "directory":
        more = {"lookup": lookup(b"a"), "create": ops.create(ops.DIR, b"a", {}), "readdir": ops.readdir()}
    else:
        more = {"read": ops.read(0, 1), "write": ops.write(0, b"x")}
    found = {name: status_of(session.run, putfh(made), op) for name, op in {**gone, **more}.items()}
    assert found == dict.fromkeys(found, STALE)


def test_handles_that_were_never_given(session: Session, place: bytes) -> None:
    for handle in (b"", b"abc", place + b"x", place[:-1], bytes(len(place))):
        assert status_of(session.run, putfh(handle), ops.getattr_(ops.TYPE)) == ops.BADHANDLE
    other = place[:-3] + bytes(byte ^ 0x55 for byte in place[-3:])
    assert status_of(session.run, putfh(other), ops.getattr_(ops.TYPE)) in (STALE, ops.BADHANDLE)
    for operation in (ops.getattr_(ops.TYPE), lookup(b"a"), ops.read(0, 1)):
        assert status_of(session.run, operation) == ops.NOFILEHANDLE
    assert status_of(session.run, putfh(place), ops.link(b"a")) == ops.NOFILEHANDLE
