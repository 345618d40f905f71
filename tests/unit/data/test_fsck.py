"""fsck on trees that were damaged on purpose, and what it takes of memory."""

import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gateway.data import fsck
from gateway.metadata import checkpoint
from gateway.metadata.database import Database, sqlite_url
from tests.unit.metadata.harness import FS_ID, FakeHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[FakeHarness]:
    """/d/e/f, /d/file with 9 bytes flushed, /d/second (another name of it), /link."""
    Database(sqlite_url(tmp_path / "metadata.db"), FS_ID).close()
    harness = FakeHarness(tmp_path)
    fs = harness.fs
    directory = fs.mkdir(1, b"d", uid=0, gid=0).inode
    inner = fs.mkdir(directory, b"e", uid=0, gid=0).inode
    fs.create(inner, b"f", uid=0, gid=0)
    file = fs.create(directory, b"file", uid=0, gid=0)[0].inode
    fs.link(file, directory, b"second")
    fs.symlink(1, b"link", b"d", uid=0, gid=0)
    harness.write(file, 0, b"some data")
    harness.settle()
    yield harness
    harness.close()


def check(connection: Connection) -> fsck.Report:
    return fsck.check(connection, None, deep=False, settled=True, progress=lambda _: None)


def problems(harness: FakeHarness) -> list[str]:
    with harness.database.scanner() as connection:
        report = check(connection)
    assert report.clean == (not report.problems)
    return [problem.text for problem in report.problems]


def ino_of(harness: FakeHarness, path: str) -> int:
    ino = 1
    for name in path.split("/"):
        ino = harness.fs.lookup(ino, name.encode()).inode
    return ino


def test_a_sound_tree_is_clean(harness: FakeHarness) -> None:
    assert problems(harness) == []
    with harness.database.scanner() as connection:
        report = check(connection)
    assert (report.inodes, report.extents, report.packs) == (6, 1, 1)


Damage = tuple[str, Callable[[dict[str, int]], list[str]]]
DAMAGES: list[Damage] = [
    (
        "update inode set nlink = 3 where ino = :file",
        lambda i: [f"inode {i['file']}: link count is 2, the row says 3"],
    ),
    (
        "update inode set nlink = 5 where ino = :d",
        lambda i: [f"inode {i['d']}: link count is 3, the row says 5"],
    ),
    (
        "update inode set size = 9 where ino = :d",
        lambda i: [f"directory {i['d']} has 3 entries, the row says 9"],
    ),
    (
        "update inode set parent = 1 where ino = :e",
        lambda i: [f"directory {i['e']}: its parent is {i['d']}, the row says 1"],
    ),
    (
        "update inode set orphan = 1 where ino = :file",
        lambda i: [f"inode {i['file']} is marked as unlinked but has 2 names"],
    ),
    (
        "update dirent set kind = 4096 where name = x'6c696e6b'",
        lambda i: [f"entry b'link' of directory 1: the entry's type is not that of inode {i['link']}"],
    ),
    (
        "update dirent set cookie = 2 where name = x'6c696e6b'",
        lambda i: ["entry b'link' of directory 1: its cookie 2 is below 3"],
    ),
    (
        "delete from dirent where ino = :link",
        lambda i: [
            "directory 1 has 1 entries, the row says 2",
            f"inode {i['link']} has no name and is not marked as unlinked",
            f"inode {i['link']}: link count is 0, the row says 1",
        ],
    ),
    (
        "delete from inode where ino = :f",
        lambda i: [
            f"entry b'f' of directory {i['e']} leads to inode {i['f']}, which does not exist",
            "the file system holds 5 inodes, the facts say 6",
        ],
    ),
    (
        "insert into dirent values (77, x'78', 77, 1, 32768)",
        lambda i: ["entry b'x' of directory 77: there is no such directory"],
    ),
    (
        "insert into dirent values (:file, x'78', 77, :link, 40960)",
        lambda i: [f"entry b'x' of directory {i['file']}: there is no such directory"],
    ),
    (
        "update dirent set dir = :e where ino = :e",
        lambda i: [
            "directory {d} has 2 entries, the row says 3".format(**i),
            "inode {d}: link count is 2, the row says 3".format(**i),
            "directory {e} has 2 entries, the row says 1".format(**i),
            "directory {e}: its parent is {e}, the row says {d}".format(**i),
            "inode {e}: link count is 3, the row says 2".format(**i),
            "directory {e} is not reached from the root".format(**i),
        ],
    ),
    (
        "update inode set size = 4 where ino = :file",
        lambda i: [f"inode {i['file']}: extent at 0 ends beyond the size 4"],
    ),
    (
        "update extent set pack = 99",
        lambda i: [
            f"inode {i['file']}: extent at 0 is in pack 0000000000000063, which is not known",
            f"pack {i['pack']:016x}: live bytes are 0, the row says 9",
        ],
    ),
    (
        "update pack set live_bytes = 8",
        lambda i: [f"pack {i['pack']:016x}: live bytes are 9, the row says 8"],
    ),
    (
        "insert into extent select 99, 0, 5, pack, 0 from extent; update pack set live_bytes = 14",
        lambda i: ["extent at 0 of inode 99, which does not exist"],
    ),
    (
        "insert into extent select ino, 5, 4, pack, 0 from extent; update pack set live_bytes = 13",
        lambda i: [f"inode {i['file']}: extents overlap at 5"],
    ),
    (
        "delete from inode where ino = 1; delete from extent; update pack set live_bytes = 0",
        lambda i: ["the root directory does not exist"],
    ),
    (
        "update meta set value = '5' where key = 'bytes'",
        lambda i: ["the file system holds 9 bytes, the facts say 5"],
    ),
]


@pytest.mark.parametrize(("sql", "expected"), DAMAGES, ids=[sql[:40] for sql, _ in DAMAGES])
def test_damage_is_told(
    harness: FakeHarness, sql: str, expected: Callable[[dict[str, int]], list[str]]
) -> None:
    paths = {"d": "d", "e": "d/e", "f": "d/e/f", "file": "d/file", "link": "link"}
    inos = {key: ino_of(harness, path) for key, path in paths.items()}
    with harness.database.writer() as connection:
        inos["pack"] = connection.execute(text("select id from pack")).scalar_one()
        for statement in sql.split("; "):
            wanted = re.findall(r":(\w+)", statement)
            connection.execute(text(statement), {key: inos[key] for key in wanted})
    # What sums say of it is tested below.
    told = [
        words
        for words in problems(harness)
        if not re.search("the sums say|counts in|its extents cover", words)
    ]
    assert told == expected(inos)


def test_sums_that_are_wrong_are_told_and_mended(harness: FakeHarness) -> None:
    damages = (
        "update tree set files = files + 5, bytes = bytes - 2 where dir = 1",
        "delete from tree where dir <> 1",
        "insert into tree values (9999, 1, 2, 3, 4)",
        "update owner_usage set space = space + 9 where kind = 1",
        "insert into owner_usage values (0, 77, 1, 1, 1)",
        "insert into quota values (9999, 1, null, null, null, 0, 0, 0, 1)",
    )
    with harness.database.writer() as connection:
        for damage in damages:
            connection.execute(text(damage))
    with harness.database.scanner() as connection:
        found = check(connection).problems
    words = " ".join(problem.text for problem in found)
    assert len(found) == 7
    assert "directory 9999 has 0 files" in words
    assert "user 77" in words
    assert "limits on inode 9999" in words
    with harness.database.writer() as connection:
        checkpoint.repair(connection, [op for problem in found for op in problem.repair])
    assert problems(harness) == []


def test_a_served_file_system_mends_its_sums_in_memory_too(harness: FakeHarness) -> None:
    with harness.database.writer() as connection:
        connection.execute(text("update tree set files = files + 5 where dir = 1"))
    harness.crash()
    assert harness.fs.tree(1).files == 3 + 5
    with harness.database.scanner() as connection:
        found = check(connection).problems
    harness.fs.create(1, b"meanwhile", uid=0, gid=0)
    harness.fs.repair([op for problem in found for op in problem.repair])
    assert harness.fs.tree(1).files == 3 + 1
    harness.settle()
    assert problems(harness) == []


def test_a_home_and_an_allocation_that_are_wrong_are_told(harness: FakeHarness) -> None:
    ino = ino_of(harness, "d/file")
    with harness.database.writer() as connection:
        connection.execute(text("update inode set space_used = 11 where ino = :ino"), {"ino": ino})
        connection.execute(
            text("update inode set parent = 1 where ino in (:ino, :f)"),
            {"ino": ino, "f": ino_of(harness, "d/e/f")},
        )
    words = problems(harness)
    assert f"inode {ino}: its names are not in the directories that its row says" in words
    assert f"inode {ino}: its extents cover 9 bytes, the row says 11" in words
    assert any("counts in directory 1, its name is in" in word for word in words)


def test_a_name_that_leads_nowhere_is_mended(harness: FakeHarness) -> None:
    with harness.database.writer() as connection:
        connection.execute(text("insert into dirent values (77, x'78', 77, 1, 32768)"))
    with harness.database.scanner() as connection:
        found = check(connection).problems
    with harness.database.writer() as connection:
        checkpoint.repair(connection, [op for problem in found for op in problem.repair])
    assert problems(harness) == []


def test_only_the_first_problems_are_kept(harness: FakeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsck, "PROBLEMS_MAX", 3)
    with harness.database.writer() as connection:
        connection.execute(text("update inode set nlink = 9"))
    with harness.database.scanner() as connection:
        report = check(connection)
    assert not report.clean
    assert (len(report.problems), report.more) == (3, 3)


def test_memory_does_not_go_by_the_number_of_files(harness: FakeHarness) -> None:
    count = 60_000
    with harness.database.writer() as connection:
        connection.execute(
            text(
                "with recursive n(i) as (select 1000 union all select i + 1 from n where i < :last) insert into inode "
                "select i, 1, 32768, 420, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, null, 0, 0, 0, null from n"
            ),
            {"last": 999 + count},
        )
        connection.execute(
            text(
                "insert into dirent select 1, cast(ino as blob), ino, ino, kind from inode where ino between 1000 and :last"
            ),
            {"last": 999 + count},
        )
        connection.execute(text("update inode set size = size + :n where ino = 1"), {"n": count})
        connection.execute(text("update meta set value = value + :n where key = 'inodes'"), {"n": count})
        connection.execute(text("update tree set files = files + :n where dir = 1"), {"n": count})
        connection.execute(text("update owner_usage set inodes = inodes + :n where id = 0"), {"n": count})
    with harness.database.scanner() as connection:
        tracemalloc.start()
        try:
            report = check(connection)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert report.clean, report.problems[:3]
    assert report.inodes == count + 6
    # A page of rows in Python, not 60,000 of anything.
    assert peak < 6 << 20
