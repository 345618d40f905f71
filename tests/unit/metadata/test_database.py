"""Opening databases: new, as they should be, of others, and newer than this version."""

import errno
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

from gateway import sqlite
from gateway.metadata import acl, rows, tables
from gateway.metadata import database as opening
from gateway.metadata.attributes import REGULAR, SetAttributes
from gateway.metadata.database import HEAD, Database, read_meta, sqlite_url
from gateway.metadata.errors import FsError, MetadataError, NewerFormatError
from tests.unit.metadata.audit import audit
from tests.unit.metadata.harness import FS_ID, FakeHarness


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "metadata.db")


def execute(url: str, statement: str) -> None:
    database = Database(url, FS_ID)
    with database.writer() as connection:
        connection.execute(text(statement))
    database.close()


def test_migrations_make_just_the_tables(url: str) -> None:
    database = Database(url, FS_ID)
    with database.reader() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        assert context.get_current_revision() == HEAD
        facts = read_meta(connection)
    assert facts == {
        "fs_id": FS_ID.hex(),
        "format": str(rows.FORMAT),
        "checkpoint_lsn": "0",
        "inodes": "0",
        "bytes": "0",
    }
    database.close()


def test_commits_reach_the_disk_and_readers_do_not_write(url: str) -> None:
    database = Database(url, FS_ID)
    with database.reader() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, (
            "the journal is trimmed on its word"
        )
    with pytest.raises(Exception, match="readonly"):
        database.fetch("DELETE FROM meta", ())
    database.close()
    with pytest.raises(MetadataError, match="closed"):
        database.fetch("SELECT 1", ())


def test_reopening_keeps_what_is_there(url: str) -> None:
    execute(url, "UPDATE meta SET value = '7' WHERE key = 'checkpoint_lsn'")
    database = Database(url, FS_ID)
    assert database.fetch("SELECT value FROM meta WHERE key = 'checkpoint_lsn'", ()) == [("7",)]
    database.close()


def of_the_first_format(path: Path) -> str:
    """A database as the first version left it: one file in the root."""
    config = Config()
    config.set_main_option("script_location", str(Path(opening.__file__).parent / "migrations"))
    with sqlite.DRIVER.connect(path) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
    engine = sqlite.engine(sqlite_url(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        facts = {"fs_id": FS_ID.hex(), "format": "1", "checkpoint_lsn": "5", "inodes": "2", "bytes": "0"}
        connection.execute(tables.meta.insert(), [{"key": k, "value": v} for k, v in facts.items()])
        zeros = ", ".join("0" for _ in range(11))
        for ino, kind, nlink in ((1, 0o040000, 2), (7, 0o100000, 1)):
            connection.execute(
                text(f"INSERT INTO inode VALUES ({ino}, 1, {kind}, 420, {nlink}, {zeros}, 5, NULL, 0)")
            )
        connection.execute(text("UPDATE inode SET size = 1, parent = 1 WHERE ino = 1"))
        connection.execute(text("INSERT INTO dirent VALUES (1, x'66', 3, 7, 32768)"))
    engine.dispose()
    return sqlite_url(path)


def test_a_database_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    url = of_the_first_format(tmp_path / "metadata.db")
    database = Database(url, FS_ID)
    with database.reader() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        facts = read_meta(connection)
        audit(connection)
    assert (facts["format"], facts["checkpoint_lsn"]) == (str(rows.FORMAT), "5")
    database.close()


def test_what_the_first_format_held_is_served_and_takes_extended_attributes(tmp_path: Path) -> None:
    of_the_first_format(tmp_path / "metadata.db")
    harness = FakeHarness(tmp_path)
    assert harness.fs.lookup(1, b"f").inode == 7
    assert harness.fs.listxattr(7) == []
    harness.fs.setxattr(7, b"user.a", b"value")
    harness.settle()
    harness.crash()
    assert harness.fs.getxattr(7, b"user.a") == b"value"
    with harness.database.reader() as connection:
        audit(connection)
    harness.close()


def downgrade(folder: Path, revision: str) -> None:
    """As an operator would who goes back to an earlier release."""
    config = Config()
    config.set_main_option("script_location", str(Path(opening.__file__).parent / "migrations"))
    engine = sqlite.engine(sqlite_url(folder / "metadata.db"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def test_no_release_that_knows_no_lists_gets_a_database_with_lists(tmp_path: Path) -> None:
    Database(sqlite_url(tmp_path / "metadata.db"), FS_ID).close()
    harness = FakeHarness(tmp_path)
    ino = harness.fs.create(1, b"file", uid=5, gid=6)[0].inode
    entries = (acl.Ace(acl.DENY, acl.USER, 0, acl.READ_DATA, 7), *acl.trivial(0o644, REGULAR))
    harness.fs.setattr(ino, SetAttributes(acl=acl.encode(entries)))
    harness.settle()
    harness.close()
    with pytest.raises(RuntimeError, match="1 inodes have access control lists"):
        downgrade(tmp_path, "0005")
    harness.database = Database(sqlite_url(tmp_path / "metadata.db"), FS_ID)
    harness.open()
    assert acl.decode(harness.fs.acl(ino)) == entries


def test_sums_and_homes_of_an_older_database_are_counted_once(tmp_path: Path) -> None:
    """Files with several names, in one directory and in several; nameless ones; records of before in the journal."""
    Database(sqlite_url(tmp_path / "metadata.db"), FS_ID).close()
    harness = FakeHarness(tmp_path)
    fs = harness.fs
    one, other = (fs.mkdir(1, name, uid=3, gid=4).inode for name in (b"one", b"other"))
    inner = fs.mkdir(one, b"inner", uid=3, gid=4).inode
    linked = fs.create(inner, b"linked", uid=5, gid=6)[0].inode
    fs.link(linked, inner, b"again")
    fs.link(linked, other, b"elsewhere")
    harness.write(linked, 100, b"some data")
    fs.symlink(one, b"link", b"to/it", uid=0, gid=0)
    nameless = fs.create(other, b"nameless", uid=0, gid=0)[0].inode
    fs.unlink(other, b"nameless", True)
    harness.settle()
    expected = {ino: fs.tree(ino) for ino in (1, one, inner)}
    harness.close()

    downgrade(tmp_path, "0003")

    harness.database = Database(sqlite_url(tmp_path / "metadata.db"), FS_ID)
    with harness.database.reader() as connection:
        audit(connection)
    harness.open()
    fs = harness.fs
    # Whose last name was where is not known any more: it counts in the root.
    assert fs.row(nameless).parent == 1
    found = {ino: fs.tree(ino) for ino in expected}
    # A home is the oldest of the directories that hold a name.
    assert fs.row(linked).parent == min(inner, other)
    assert found[1] == expected[1]
    for name in (b"again", b"linked"):
        fs.unlink(inner, name)
    assert fs.row(linked).parent == other
    fs.released(nameless)
    harness.settle()
    with harness.database.reader() as connection:
        audit(connection)
    harness.close()


def test_a_newer_schema_is_refused(url: str) -> None:
    execute(url, "UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(NewerFormatError, match="0999"):
        Database(url, FS_ID)


def test_newer_rows_are_refused(url: str) -> None:
    execute(url, "UPDATE meta SET value = '99' WHERE key = 'format'")
    with pytest.raises(NewerFormatError, match="99"):
        Database(url, FS_ID)


def test_the_database_of_another_file_system_is_refused(url: str) -> None:
    Database(url, FS_ID).close()
    with pytest.raises(MetadataError, match="belongs to file system"):
        Database(url, bytes(16))


def test_opening_an_existing_database_does_without_alembic(url: str) -> None:
    Database(url, FS_ID).close()
    program = (
        "import sys; from gateway.metadata.database import Database;"
        f"Database({url!r}, bytes.fromhex({FS_ID.hex()!r})); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_read_that_the_database_cannot_do_now_is_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.metadata.database.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "metadata.db"
    with closing(Database(sqlite_url(path), FS_ID)) as database:
        assert database.fetch("SELECT count(*) FROM inode", ()) == [(0,)]
        database.close()
    with closing(Database(sqlite_url(path), FS_ID)) as database:
        with closing(sqlite.DRIVER.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            other.execute("DELETE FROM inode")
            with pytest.raises(FsError) as caught:
                database.fetch("SELECT count(*) FROM inode", ())
            assert caught.value.errno == errno.EAGAIN
            other.execute("ROLLBACK")
        assert database.fetch("SELECT count(*) FROM inode", ()) == [(0,)]
        # What is wrong by itself stays a defect.
        with pytest.raises(sqlite.DRIVER.ProgrammingError):
            database.fetch("SELECT ?", ())
