"""The core with keys: what is written is read back cold, in any ranges, whichever key sealed it or none."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import _core
from tests.unit.core.harness import FS_ID, MIB, Files

KEYS = [("second", bytes([2]) * 32), ("first", bytes([1]) * 32)]
FILE_BYTES = 1 << 20

places = st.integers(0, FILE_BYTES) | st.sampled_from([262_136, 262_144, 524_272])
pieces = st.tuples(places, st.integers(1, 300_000))
steps = st.lists(
    st.tuples(st.just("write"), pieces) | st.tuples(st.sampled_from(["flush", "rotate", "stop"]), st.none()),
    min_size=2,
    max_size=10,
)


@settings(max_examples=25, deadline=None)
@given(steps=steps, reads=st.lists(pieces, min_size=1, max_size=6))
def test_any_ranges_come_back(
    steps: list[tuple[str, tuple[int, int] | None]], reads: list[tuple[int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        ring = _core.KeyRing(FS_ID, KEYS[1:])
        files = Files(Path(directory) / "fs", keys=ring, pack_bytes=MIB // 2)
        files.create(10)
        model = bytearray()
        for number, (what, piece) in enumerate(steps):
            if piece is not None:
                offset, length = piece
                data = bytes([65 + number]) * length
                files.core.write(10, offset, data)
                model.extend(bytes(max(0, offset + length - len(model))))
                model[offset : offset + length] = data
            elif what == "flush":
                files.flush()
            else:
                ring.replace(KEYS, seals=what == "rotate")
        files.flush()
        for restart in (False, True):
            if restart:
                files = files.restart()
                files.load(10)
            files.core.cache_drop(True, True)
            for offset, length in reads:
                assert files.core.read(10, offset, length) == model[offset : offset + length]
        for pack, _, _ in files.core.list_packs():
            files.core.verify_pack(pack, True)
        files.core.close()


def test_a_store_of_sealed_packs_says_nothing_without_its_keys(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs", keys=_core.KeyRing(FS_ID, KEYS))
    files.create(10)
    files.core.write(10, 0, b"secret " * 50_000)
    files.flush()
    (pack, _, _) = files.core.list_packs()[0]
    files.core.close()
    url = f"file://{tmp_path / 'fs' / 'store'}"
    for keys in (None, _core.KeyRing(FS_ID, KEYS[1:]), _core.KeyRing(bytes(16), KEYS)):
        for deep in (False, True):
            with pytest.raises((_core.StoreError, _core.CorruptError), match="second"):
                _core.PackStore(url, {}, keys).verify_pack(pack, deep)
    assert _core.PackStore(url, {}, _core.KeyRing(FS_ID, KEYS)).pack_footer(pack).entries[0][:3] == (
        10,
        0,
        350_000,
    )
