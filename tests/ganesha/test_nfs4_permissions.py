"""What a user may do, by every mode, as owner, in the group, by a supplementary group and as anybody else."""

from collections.abc import Callable, Iterator

import pytest

from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs4_ops import ACCESS, NOENT, OK, PERM, Op, putfh, savefh
from tests.ganesha.nfs4_session import Create, Session, status_of
from tests.support.caudal import Caudal

pytestmark = pytest.mark.ganesha
USER, GROUP, EXTRA = 1001, 1001, 2002
WHO = {
    "owner": (6, str(USER), "5"),
    "group": (3, "5", str(GROUP)),
    "supplementary": (3, "5", str(EXTRA)),
    "other": (0, "5", "5"),
}
ACCESS_READ, ACCESS_LOOKUP, ACCESS_MODIFY, ACCESS_EXTEND, ACCESS_DELETE, ACCESS_EXECUTE = 1, 2, 4, 8, 16, 32


@pytest.fixture(scope="module")
def user(shared: Caudal, minor: int) -> Iterator[Session]:
    with Session(
        shared.nfs_port, b"user-%d" % minor, minor, ids=(USER, GROUP), groups=(EXTRA, 2003)
    ) as client:
        yield client


def either(allowed: bool) -> int:
    return OK if allowed else ACCESS


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("bits", range(8))
def test_a_file(session: Session, user: Session, place: bytes, who: str, bits: int) -> None:
    shift, owner, group = WHO[who]
    owns = who == "owner"
    file = session.make(place, b"file", ops.REG)
    # All other classes may everything: only the first that fits counts.
    mode = 0o777 & ~(7 << shift) | bits << shift
    session.run(putfh(file), ops.setattr_({ops.MODE: mode, ops.OWNER: owner, ops.GROUP: group}))
    reads, writes, executes = bool(bits & 4), bool(bits & 2), bool(bits & 1)

    wanted = ACCESS_READ | ACCESS_MODIFY | ACCESS_EXTEND | ACCESS_EXECUTE
    expected = reads * ACCESS_READ | writes * (ACCESS_MODIFY | ACCESS_EXTEND) | executes * ACCESS_EXECUTE
    assert user.run(putfh(file), ops.access(wanted))[-1] == (wanted, expected)
    for access, allowed in ((ops.READ, reads), (ops.WRITE, writes), (ops.BOTH, reads and writes)):
        # What can be executed is read to execute it.
        may = allowed or (access == ops.READ and executes)
        assert status_of(open_and_close, user, place, access) == either(may), access
    truncating = Create.unchecked({ops.SIZE: 0})
    assert status_of(open_and_close, user, place, ops.WRITE, truncating) == either(writes)
    # An owner without permission still gets to his data, as a local process does that opened the file before.
    assert status_of(user.run, putfh(file), ops.write(0, b"x")) == either(writes or owns)
    assert status_of(user.run, putfh(file), ops.setattr_({ops.SIZE: 3})) == either(writes or owns)
    now = ops.setattr_({ops.MTIME_SET: ops.SERVER_TIME, ops.ATIME_SET: ops.SERVER_TIME})
    assert status_of(user.run, putfh(file), now) == either(writes or owns)
    for attributes in ({ops.MTIME_SET: (1, 1)}, {ops.MODE: mode}):
        assert status_of(user.run, putfh(file), ops.setattr_(attributes)) == (OK if owns else PERM)
    for attributes in ({ops.OWNER: "77"}, {ops.GROUP: "77"}):
        assert status_of(user.run, putfh(file), ops.setattr_(attributes)) == PERM
    for mine in (GROUP, EXTRA):
        status = status_of(user.run, putfh(file), ops.setattr_({ops.GROUP: str(mine)}))
        assert status == (OK if owns else PERM)


def open_and_close(user: Session, place: bytes, access: int, create: bytes = b"") -> None:
    user.close_file(user.open(place, b"file", access, create=create))


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("bits", range(8))
def test_a_directory(session: Session, user: Session, place: bytes, who: str, bits: int) -> None:
    shift, owner, group = WHO[who]
    directory = session.make(place, b"directory")
    free = session.make(place, b"free", ops.REG)
    for name in (b"a", b"b", b"c"):
        session.make(directory, name, ops.REG)
    session.run(putfh(place), ops.setattr_({ops.MODE: 0o777}))
    mode = 0o777 & ~(7 << shift) | bits << shift
    session.run(putfh(directory), ops.setattr_({ops.MODE: mode, ops.OWNER: owner, ops.GROUP: group}))
    lists, enters = bool(bits & 4), bool(bits & 1)
    changes = enters and bool(bits & 2)

    cases: dict[str, tuple[bool, tuple[Op, ...]]] = {
        # Attributes come with the names, and take the right to enter.
        "readdir": (lists and enters, (putfh(directory), ops.readdir())),
        "lookup": (enters, (putfh(directory), ops.lookup(b"a"))),
        "mkdir": (changes, (putfh(directory), ops.create(ops.DIR, b"new", {ops.MODE: 0o755}))),
        "symlink": (changes, (putfh(directory), ops.create(ops.LNK, b"link", {}, target=b"t"))),
        "fifo": (changes, (putfh(directory), ops.create(ops.FIFO, b"fifo", {}))),
        "link": (changes, (putfh(free), savefh(), putfh(directory), ops.link(b"linked"))),
        "remove": (changes, (putfh(directory), ops.remove(b"a"))),
        "rename in": (changes, (putfh(directory), savefh(), putfh(directory), ops.rename(b"b", b"b2"))),
        "rename out": (changes, (putfh(directory), savefh(), putfh(place), ops.rename(b"c", b"out"))),
        "rename into": (changes, (putfh(place), savefh(), putfh(directory), ops.rename(b"free", b"d"))),
    }
    found = {name: status_of(user.run, *operations) for name, (_, operations) in cases.items()}
    assert found == {name: either(allowed) for name, (allowed, _) in cases.items()}
    opened = status_of(user.open, directory, b"file", create=Create.guarded({ops.MODE: 0o600}))
    assert opened == either(changes)
    device = ops.create(ops.CHR, b"null", {}, device=(1, 3))
    assert status_of(user.run, putfh(directory), device) == (PERM if changes else ACCESS)
    missing = status_of(user.run, putfh(directory), ops.remove(b"missing"))
    assert missing == (NOENT if enters else ACCESS)


def test_a_sticky_directory_keeps_others_from_ones_names(
    session: Session, user: Session, place: bytes
) -> None:
    directory = session.make(place, b"sticky")
    session.run(putfh(directory), ops.setattr_({ops.MODE: 0o1777}))
    for name, owner in ((b"mine", USER), (b"theirs", 5)):
        made = session.make(directory, name, ops.REG)
        session.run(putfh(made), ops.setattr_({ops.OWNER: str(owner), ops.MODE: 0o666}))
    assert status_of(user.run, putfh(directory), ops.remove(b"theirs")) in (PERM, ACCESS)
    over = (putfh(directory), savefh(), putfh(directory), ops.rename(b"mine", b"theirs"))
    assert status_of(user.run, *over) in (PERM, ACCESS)
    away = (putfh(directory), savefh(), putfh(directory), ops.rename(b"theirs", b"x"))
    assert status_of(user.run, *away) in (PERM, ACCESS)
    assert status_of(user.run, putfh(directory), ops.remove(b"mine")) == OK
    session.run(putfh(directory), ops.setattr_({ops.OWNER: str(USER)}))
    assert status_of(user.run, putfh(directory), ops.remove(b"theirs")) == OK


MAKERS: dict[str, Callable[[Session, bytes, dict[int, object]], object]] = {
    "file": lambda s, d, a: s.open(d, b"new", create=Create.guarded(a)),
    "directory": lambda s, d, a: s.run(putfh(d), ops.create(ops.DIR, b"new", a)),
    "link": lambda s, d, a: s.run(putfh(d), ops.create(ops.LNK, b"new", a, target=b"t")),
    "fifo": lambda s, d, a: s.run(putfh(d), ops.create(ops.FIFO, b"new", a)),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_nobody_gives_away_what_he_makes(session: Session, user: Session, place: bytes, kind: str) -> None:
    session.run(putfh(place), ops.setattr_({ops.MODE: 0o777}))
    for attributes, status in (
        ({ops.OWNER: "5"}, PERM),
        ({ops.GROUP: "77"}, PERM),
        ({ops.OWNER: str(USER), ops.GROUP: str(EXTRA)}, OK),
    ):
        assert status_of(MAKERS[kind], user, place, attributes) == status
    found = session.run(putfh(place), ops.lookup(b"new"), ops.getattr_(ops.OWNER, ops.GROUP))[-1]
    assert found == {ops.OWNER: str(USER), ops.GROUP: str(EXTRA)}
