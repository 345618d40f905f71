"""Names, as RFC 8881 has them, in every operation that takes one."""

from collections.abc import Callable

import pytest

from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs4_ops import BADCHAR, BADNAME, INVAL, NAMETOOLONG, NOENT, OK, Op, putfh, savefh
from tests.ganesha.nfs4_session import Create, Session, status_of

pytestmark = pytest.mark.ganesha

# What a name is refused with, by every operation.
REFUSED = {
    "empty": (b"", INVAL),
    "dot": (b".", BADNAME),
    "dotdot": (b"..", BADNAME),
    "slash": (b"a/b", BADCHAR),
    "256 bytes": (b"x" * 256, NAMETOOLONG),
    "5000 bytes": (b"x" * 5000, NAMETOOLONG),
}
TAKEN = {
    "255 bytes": b"x" * 255,
    "not UTF-8": b"\xff\xfe\x80",
    "UTF-8": "größe".encode(),
    "control characters": b"\x01\n\x7f",
    "three dots": b"...",
    "dot first": b".x",
    "backslash": b"a\\b",
}

Operations = Callable[[bytes, bytes, bytes], tuple[Op, ...]]
"""Of a directory, a file's handle and the name in question."""

COMPOUNDS: dict[str, Operations] = {
    "lookup": lambda d, _, name: (putfh(d), ops.lookup(name)),
    "create": lambda d, _, name: (putfh(d), ops.create(ops.DIR, name, {ops.MODE: 0o755})),
    "remove": lambda d, _, name: (putfh(d), ops.remove(name)),
    "link": lambda d, file, name: (putfh(file), savefh(), putfh(d), ops.link(name)),
    "rename from": lambda d, _, name: (putfh(d), savefh(), putfh(d), ops.rename(name, b"other")),
    "rename to": lambda d, _, name: (putfh(d), savefh(), putfh(d), ops.rename(b"file", name)),
}


@pytest.mark.parametrize("operation", COMPOUNDS)
@pytest.mark.parametrize("kind", REFUSED)
def test_a_wrong_name_is_refused(session: Session, place: bytes, operation: str, kind: str) -> None:
    name, expected = REFUSED[kind]
    file = session.make(place, b"file", ops.REG)
    assert status_of(session.run, *COMPOUNDS[operation](place, file, name)) == expected
    _, entries, eof = session.run(putfh(place), ops.readdir())[-1]
    assert ([entry[1] for entry in entries], eof) == ([b"file"], True)


@pytest.mark.parametrize("kind", REFUSED)
def test_open_refuses_a_wrong_name(session: Session, place: bytes, kind: str) -> None:
    name, expected = REFUSED[kind]
    for create in (b"", Create.unchecked(), Create.guarded(), Create.exclusive(b"verifier")):
        assert status_of(session.open, place, name, create=create) == expected


@pytest.mark.parametrize("kind", TAKEN)
def test_any_other_bytes_are_a_name(session: Session, place: bytes, kind: str) -> None:
    name = TAKEN[kind]
    file = session.make(place, b"file", ops.REG)
    for operation in ("lookup", "remove", "rename from"):
        assert status_of(session.run, *COMPOUNDS[operation](place, file, name)) == NOENT
    for operation in ("link", "create", "rename to"):
        assert status_of(session.run, *COMPOUNDS[operation](place, file, name)) == OK
        _, entries, _ = session.run(putfh(place), ops.readdir())[-1]
        assert name in [entry[1] for entry in entries]
        assert status_of(session.run, putfh(place), ops.lookup(name)) == OK
        assert status_of(session.run, *COMPOUNDS["remove"](place, file, name)) == OK
    opened = session.open(place, name, create=Create.guarded())
    session.close_file(opened)


def test_a_symbolic_link_keeps_any_target(session: Session, place: bytes) -> None:
    for number, target in enumerate((b".", b"..", b"/a//b/../", b"\xff\xfe", b"x" * 4095)):
        made = session.make(place, b"%d" % number, ops.LNK, target=target, attributes={})
        assert session.run(putfh(made), ops.readlink())[-1] == target
    empty = (putfh(place), ops.create(ops.LNK, b"empty", {}, target=b""))
    assert status_of(session.run, *empty) == INVAL
