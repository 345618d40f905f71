"""Data, directories and attributes at their edges."""

from typing import Any

import pytest

from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs4_ops import (
    ATTRNOTSUPP,
    BAD_COOKIE,
    BADXDR,
    FBIG,
    INVAL,
    NOT_SAME,
    OK,
    OPENMODE,
    SAME,
    TO_END,
    TOOSMALL,
    putfh,
)
from tests.ganesha.nfs4_session import Session, status_of

pytestmark = pytest.mark.ganesha
LARGEST = 2**63 - 1


@pytest.fixture
def file(session: Session, place: bytes) -> bytes:
    """A file of 100 bytes."""
    made = session.make(place, b"file", ops.REG)
    session.run(putfh(made), ops.write(0, bytes(range(100))))
    return made


def test_reads_at_and_beyond_the_end(session: Session, file: bytes) -> None:
    whole = bytes(range(100))
    for offset, length, eof, data in (
        (0, 100, True, whole),
        (0, 99, False, whole[:99]),
        (90, 100, True, whole[90:]),
        (100, 10, True, b""),
        (2**62, 10, True, b""),
        (0, 0, False, b""),
    ):
        assert session.run(putfh(file), ops.read(offset, length))[-1] == (eof, data), (offset, length)


def test_writes_of_nothing_change_nothing(session: Session, file: bytes) -> None:
    before = session.attributes(file, ops.SIZE, ops.CHANGE, ops.MTIME)
    for offset in (0, 50, 1000):
        assert session.run(putfh(file), ops.write(offset, b""))[-1][0] == 0
    assert session.attributes(file, ops.SIZE, ops.CHANGE, ops.MTIME) == before


def test_the_last_byte_that_a_file_can_have(session: Session, file: bytes) -> None:
    session.run(putfh(file), ops.write(LARGEST - 1, b"z"))
    assert session.attributes(file, ops.SIZE)[ops.SIZE] == LARGEST
    assert session.run(putfh(file), ops.read(LARGEST - 3, 2))[-1] == (False, b"\0\0")
    for offset, data in ((LARGEST, b"a"), (LARGEST - 1, b"ab"), (2**63, b"a"), (TO_END, b"a")):
        assert status_of(session.run, putfh(file), ops.write(offset, data)) == FBIG, offset
    for size in (2**63, TO_END):
        assert status_of(session.run, putfh(file), ops.setattr_({ops.SIZE: size})) == FBIG
    assert session.attributes(file, ops.SIZE)[ops.SIZE] == LARGEST
    session.run(putfh(file), ops.setattr_({ops.SIZE: 100}))
    assert session.run(putfh(file), ops.read(0, 200))[-1] == (True, bytes(range(100)))


def test_commits_of_odd_ranges(session: Session, file: bytes) -> None:
    verifier = session.run(putfh(file), ops.write(0, b"x", stable=ops.UNSTABLE))[-1][2]
    for offset, length in ((0, 0), (0, 50), (200, 10), (TO_END, 0)):
        assert session.run(putfh(file), ops.commit(offset, length))[-1] == verifier
    assert status_of(session.run, putfh(file), ops.commit(TO_END, 10)) == INVAL


def test_what_a_stable_write_answers(session: Session, file: bytes) -> None:
    for stable in (ops.FILE_SYNC, ops.DATA_SYNC):
        count, committed, _ = session.run(putfh(file), ops.write(10, b"abc", stable=stable))[-1]
        assert count == 3
        assert committed >= stable


def read_all(session: Session, directory: bytes, **how: Any) -> tuple[list[bytes], int]:
    """All names, and in how many calls they came."""
    names: list[bytes] = []
    cookie, verifier, calls, eof = 0, bytes(8), 0, False
    while not eof:
        verifier, entries, eof = session.run(putfh(directory), ops.readdir(cookie, verifier, **how))[-1]
        assert entries or eof
        names += [entry[1] for entry in entries]
        cookie = entries[-1][0] if entries else cookie
        calls += 1
    return names, calls


def test_a_directory_comes_whole_whatever_the_client_takes(session: Session, place: bytes) -> None:
    expected = [b"entry number %d" % number for number in range(150)]
    for name in expected:
        session.make(place, name)
    for how in ({}, {"maxcount": 300}, {"dircount": 1}, {"wanted": (ops.TYPE, ops.FILEID, ops.MODE)}):
        names, calls = read_all(session, place, **how)
        assert names == expected
        assert calls == 1 or how


def test_cookies(session: Session, place: bytes) -> None:
    for number in range(3):
        session.make(place, b"%d" % number)
    verifier, entries, eof = session.run(putfh(place), ops.readdir())[-1]
    assert [entry[1] for entry in entries] == [b"0", b"1", b"2"]
    assert eof
    assert all(2 < entry[0] <= LARGEST for entry in entries)
    for cookie in (1, 2):
        assert status_of(session.run, putfh(place), ops.readdir(cookie, verifier)) == BAD_COOKIE
    # A cookie lasts though its entry goes; one after all others ends the directory.
    session.run(putfh(place), ops.remove(b"1"))
    rest = session.run(putfh(place), ops.readdir(entries[1][0], verifier))[-1]
    assert [entry[1] for entry in rest[1]] == [b"2"]
    for cookie in (entries[2][0], LARGEST):
        assert session.run(putfh(place), ops.readdir(cookie, verifier))[-1][1:] == ([], True)


def test_a_reply_too_small_for_anything(session: Session, place: bytes) -> None:
    session.make(place, b"some name")
    for dircount, maxcount in ((0, 0), (0, 8), (8, 20), (4096, 5)):
        operation = ops.readdir(dircount=dircount, maxcount=maxcount, wanted=(ops.TYPE,))
        assert status_of(session.run, putfh(place), operation) == TOOSMALL


def test_setattr_refuses_what_cannot_be_set(session: Session, file: bytes) -> None:
    before = session.attributes(file, ops.CHANGE, ops.MODE, ops.SIZE)
    for attributes, expected in (
        ({ops.SPACE_USED: 5}, INVAL),
        ({ops.TYPE: 1}, INVAL),
        ({ops.FILEID: 1}, INVAL),
        ({ops.CHANGE: 1}, INVAL),
        ({14: ops.u32(1)}, ATTRNOTSUPP),
        ({ops.MODE: b"\0\0"}, BADXDR),
        ({ops.MODE: ops.u32(0o600, 0)}, BADXDR),
        ({ops.MTIME_SET: (10, 10**9)}, INVAL),
        ({ops.OWNER: ""}, INVAL),
    ):
        assert status_of(session.run, putfh(file), ops.setattr_(attributes)) == expected, attributes
    assert session.attributes(file, ops.CHANGE, ops.MODE, ops.SIZE) == before
    assert session.run(putfh(file), ops.setattr_({}))[-1] == set()


def test_setattr_says_what_it_set(session: Session, file: bytes) -> None:
    wanted = {ops.SIZE: 7, ops.MODE: 0o604, ops.OWNER: "5", ops.GROUP: "6", ops.MTIME_SET: (1, 2)}
    assert session.run(putfh(file), ops.setattr_(wanted))[-1] == set(wanted)
    found = session.attributes(file, ops.SIZE, ops.MODE, ops.OWNER, ops.GROUP, ops.MTIME)
    assert found == {ops.SIZE: 7, ops.MODE: 0o604, ops.OWNER: "5", ops.GROUP: "6", ops.MTIME: (1, 2)}


def test_times_of_the_server(session: Session, file: bytes) -> None:
    session.run(putfh(file), ops.setattr_({ops.ATIME_SET: (1, 1), ops.MTIME_SET: (1, 1)}))
    before = session.attributes(file, ops.CTIME)[ops.CTIME]
    session.run(putfh(file), ops.setattr_({ops.ATIME_SET: ops.SERVER_TIME, ops.MTIME_SET: ops.SERVER_TIME}))
    found = session.attributes(file, ops.ATIME, ops.MTIME, ops.CTIME)
    assert found[ops.ATIME] == found[ops.MTIME]
    assert before < found[ops.MTIME] <= found[ops.CTIME]
    assert session.attributes(file, ops.TIME_DELTA)[ops.TIME_DELTA] == (0, 1)


def test_size_takes_an_open_for_writing(session: Session, place: bytes, file: bytes) -> None:
    opened = session.open(place, b"file", ops.READ)
    assert status_of(session.run, putfh(file), ops.setattr_({ops.SIZE: 1}, opened.stateid)) == OPENMODE
    assert status_of(session.run, putfh(file), ops.write(0, b"x", opened.stateid)) == OPENMODE
    session.close_file(opened)
    opened = session.open(place, b"file", ops.WRITE)
    session.run(putfh(file), ops.setattr_({ops.SIZE: 1}, opened.stateid))
    session.close_file(opened)


def test_verify_and_nverify(session: Session, file: bytes) -> None:
    numbers = (ops.TYPE, ops.SIZE, ops.CHANGE, ops.FILEID, ops.MODE, ops.OWNER, ops.NUMLINKS, ops.MTIME)
    for number, value in session.attributes(file, *numbers).items():
        assert status_of(session.run, putfh(file), ops.verify({number: value})) == OK, number
        assert status_of(session.run, putfh(file), ops.verify({number: value}, negated=True)) == SAME
    for attributes in ({ops.SIZE: 5}, {ops.TYPE: ops.DIR}, {ops.MTIME: (1, 1)}):
        assert status_of(session.run, putfh(file), ops.verify(attributes)) == NOT_SAME
        assert status_of(session.run, putfh(file), ops.verify(attributes, negated=True)) == OK
    for attributes in ({ops.MTIME_SET: (1, 1)}, {ops.RDATTR_ERROR: ops.u32(0)}):
        assert status_of(session.run, putfh(file), ops.verify(attributes)) == INVAL


def test_the_change_attribute_and_ctime_move_with_every_change(
    session: Session, place: bytes, file: bytes
) -> None:
    seen = [session.attributes(file, ops.CHANGE, ops.CTIME)]
    for operation in (
        ops.write(0, b"a", stable=ops.UNSTABLE),
        ops.write(0, b"b"),
        ops.setattr_({ops.MODE: 0o600}),
        ops.setattr_({ops.MODE: 0o600}),
        ops.setattr_({ops.OWNER: "9"}),
        ops.setattr_({ops.MTIME_SET: (1, 1)}),
        ops.setattr_({ops.SIZE: 1}),
    ):
        session.run(putfh(file), operation)
        seen.append(session.attributes(file, ops.CHANGE, ops.CTIME))
    for operations in (
        (putfh(file), ops.savefh(), putfh(place), ops.link(b"second")),
        (putfh(place), ops.savefh(), putfh(place), ops.rename(b"second", b"third")),
        (putfh(place), ops.remove(b"third")),
    ):
        session.run(*operations)
        seen.append(session.attributes(file, ops.CHANGE, ops.CTIME))
    for number in (ops.CHANGE, ops.CTIME):
        values = [each[number] for each in seen]
        assert values == sorted(set(values)), f"attribute {number} did not rise at each step"
