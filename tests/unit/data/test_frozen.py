"""What earlier versions wrote is opened and kept; what a later one wrote is refused, and left as it is."""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway import _core, config, sqlite
from gateway.errors import ConfigError, Reason, StartError
from gateway.fsal.check import fsck_offline
from gateway.metadata.attributes import ROOT_INODE
from tests.support import frozen

RELEASES = sorted(path.name.removesuffix(".tar.xz") for path in frozen.DATA.glob("v*.tar.xz"))


@pytest.mark.parametrize("release", RELEASES)
def test_a_file_system_of_an_earlier_version_is_all_there(release: str, tmp_path: Path) -> None:
    state, expected = frozen.unpack(release, tmp_path)
    with frozen.opened(state) as owner:
        assert frozen.walk(owner.namespace, owner.core) == expected
        # And it goes on: what only the journal had goes into packs of the present form, beside the old ones.
        docs = owner.namespace.lookup(ROOT_INODE, b"docs").inode
        new = owner.namespace.lookup(docs, b"empty").inode
        assert owner.namespace.load(new)
        owner.core.write(new, 0, b"written by the present version", stable=True)
        assert owner.flusher.wait_until_flushed(60)
        frozen.checkpoint_all(owner)
        owner.core.cache_drop(True, True)
        grown = frozen.walk(owner.namespace, owner.core)
    assert {path for path in grown if grown[path] != expected[path]} == {"/docs/empty"}
    report = fsck_offline(state, {}, repair=False, deep=True)
    assert report["clean"], report["problems"]
    with frozen.opened(state) as owner:
        assert frozen.walk(owner.namespace, owner.core) == grown


def snapshot(directory: Path) -> dict[str, str]:
    """What lies in a directory; not the log of SQLite, which grows by being looked at."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not re.search(r"\.db-(shm|wal)$", str(path))
    }


def newer_json(path: Path) -> None:
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "format": 999}))


def crc32c(data: bytes) -> int:
    """CRC-32C, bit by bit: few bytes, and Python's zlib has another polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def newer_segment(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8:12] = struct.pack("<I", 999)
    data[60:64] = struct.pack("<I", crc32c(bytes(data[:60])))
    path.write_bytes(data)


def sql(path: Path, statement: str) -> None:
    engine = sqlite.engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def newer_config(path: Path) -> None:
    path.write_text(f"format = 999\n{path.read_text()}")


def newer_rows(path: Path) -> None:
    sql(path, "UPDATE meta SET value = '999' WHERE key = 'format'")


def newer_schema(path: Path) -> None:
    sql(path, "UPDATE alembic_version SET version_num = '0999'")


CASES: list[tuple[str, Callable[[Path], None], type[Exception]]] = [
    ("fs.json", newer_json, StartError),
    ("store/caudal/root.json", newer_json, StartError),
    ("journal/0000010000000001.seg", newer_segment, StartError),
    ("metadata.db", newer_rows, StartError),
    ("metadata.db", newer_schema, StartError),
    ("caudal.toml", newer_config, ConfigError),
]


@pytest.mark.parametrize(
    ("name", "make_newer", "error"), CASES, ids=[f"{name} {how.__name__}" for name, how, _ in CASES]
)
def test_a_newer_version_is_refused_and_left_as_it_is(
    name: str, make_newer: Callable[[Path], None], error: type[Exception], tmp_path: Path
) -> None:
    state, _ = frozen.unpack(RELEASES[-1], tmp_path)
    make_newer(state / name)
    before = snapshot(state)
    with pytest.raises(error, match=r"newer|version|format") as caught, frozen.opened(state):
        pass
    assert "999" in str(caught.value)
    if isinstance(caught.value, StartError):
        assert caught.value.reason is Reason.NEWER_FORMAT
        assert caught.value.hint
    assert snapshot(state) == before


def test_a_pack_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    state, _ = frozen.unpack(RELEASES[-1], tmp_path)
    path = state / "store/packs/01/0000010000000001"
    data = bytearray(path.read_bytes())
    footer_bytes = struct.unpack("<I", data[-16:-12])[0]
    footer = bytes(data[-16 - footer_bytes : -16])
    end = struct.pack("<II", footer_bytes, 999)
    data[-12:-4] = struct.pack("<II", crc32c(footer + end), 999)
    path.write_bytes(data)
    store = _core.PackStore(f"file://{state / 'store'}", {})
    with pytest.raises(_core.CorruptError, match="format version 999 is not known"):
        store.verify_pack(0x10000000001, False)


def test_the_present_version_is_written_into_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "caudal.toml"
    path.write_text(f"format = {config.FORMAT}\nnfs_port = 2050\n")
    assert config.load(path).nfs_port == 2050
    path.write_text('format = "one"\n')
    with pytest.raises(ConfigError, match="format"):
        config.load(path)
