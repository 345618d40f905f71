"""Packs that nobody reads go into cheaper tiers, by a clock of the test's: after days, never up, none too early."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway import tiering
from gateway._core import PackStore
from gateway.errors import ControlError, StartError
from gateway.metadata import checkpoint, pack_tiers, rows
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.rows import DropPack, InodeRow, PutInode, PutPack, Splice
from gateway.metadata.usage import compaction_candidates
from gateway.objects import core_options, open_root_store
from gateway.objects.azure import service_client
from gateway.objects.credentials import azure_credentials
from gateway.objects.tiers import open_tiers, pack_key
from gateway.pack_tiering import Tiering
from gateway.state import StateDir
from gateway.tiering import Policy
from tests.support.azurite import Azurite

MIB = 1 << 20
DAY_S = pack_tiers.DAY_S
FS_ID = bytes(16)
ALL = Policy(enabled=True, cool_after_days=30, cold_after_days=90)


class FakeTiers:
    """Remembers tiers. gone: packs that are not there."""

    def __init__(self) -> None:
        self.tiers: dict[int, str] = {}
        self.gone: set[int] = set()
        self.fails = False

    def set(self, packs: Sequence[int], tier: str) -> list[int]:
        if self.fails:
            raise ControlError("tier_refused", "no such tier here")
        there = [pack for pack in packs if pack not in self.gone]
        self.tiers |= dict.fromkeys(there, tier)
        return there

    def close(self) -> None:
        """Holds nothing."""


class Bench:
    """A database with packs 1 to 4 of 2 MiB and a small one, 5; the steward's part over it, whose owner this is."""

    def __init__(self, path: Path) -> None:
        self.database = Database(sqlite_url(path / "m.db"), FS_ID)
        self.now_s = 1000.0 * DAY_S
        self.read: list[int] = []
        self.policy = Policy()
        self.available = True
        self.store = FakeTiers()
        self.lsn = 1 << 40
        self.work = self.steward()
        inode = InodeRow(9, 1, 0o100000, 0o644, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        ops: list[rows.RowOp] = [PutInode(inode, keep_data=False)]
        for pack in range(1, 6):
            ops += [PutPack(pack, 2 * MIB if pack < 5 else 4096), Splice(9, pack * MIB, 4096, pack, 0)]
        self.apply(*ops)

    def steward(self) -> Tiering:
        return Tiering(
            self.database, self, lambda: self.store, now_s=lambda: self.now_s, monotonic_s=lambda: self.now_s
        )

    def packs_read(self) -> list[int]:
        read, self.read = self.read, []
        return read

    def tiering(self) -> dict[str, Any]:
        names = ("enabled", "cool_after_days", "cold_after_days", "min_pack_bytes", "version")
        return {**{name: getattr(self.policy, name) for name in names}, "available": self.available}

    def apply(self, *ops: rows.RowOp) -> None:
        self.lsn += 1
        with self.database.writer() as connection:
            checkpoint.apply(connection, [(self.lsn, rows.encode(list(ops)))], now_s=int(self.now_s))

    def later(self, days: float, *read: int) -> None:
        self.now_s += days * DAY_S
        self.read += read
        self.work.turn()

    def sums(self) -> dict[str, int]:
        with self.database.reader() as connection:
            return {name: tier.packs for name, tier in pack_tiers.sums(connection).items()}

    def sparse(self, now_s: int | None) -> list[int]:
        with self.database.reader() as connection:
            return compaction_candidates(connection, live_fraction=0.34, min_bytes=MIB, limit=9, now_s=now_s)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.database.close()


def test_off_by_default_and_where_there_are_no_tiers(bench: Bench) -> None:
    bench.later(0)
    bench.later(5000)
    bench.policy, bench.available = ALL, False
    bench.later(1)
    assert bench.sums() == {"hot": 5, "cool": 0, "cold": 0}
    assert bench.store.tiers == {}


def test_what_nobody_reads_goes_down_by_its_days(bench: Bench) -> None:
    bench.policy = ALL
    bench.later(0)
    bench.later(29, 2)
    assert bench.store.tiers == {}
    bench.later(1)
    assert bench.store.tiers == {1: "cool", 3: "cool", 4: "cool"}, "2 was read, 5 is small"
    # Another steward knows what the first noted.
    bench.work = bench.steward()
    bench.later(28)
    assert 2 not in bench.store.tiers
    bench.later(1)
    assert bench.store.tiers[2] == "cool"
    bench.later(31, 1)
    assert bench.store.tiers == {1: "cool", 2: "cool", 3: "cold", 4: "cold"}
    assert bench.sums() == {"hot": 1, "cool": 2, "cold": 2}
    bench.later(400, 1)
    # A pack that was read stays where it is.
    assert bench.store.tiers == {1: "cool", 2: "cold", 3: "cold", 4: "cold"}
    bench.apply(Splice(9, 3 * MIB, 4096, 1, 8192), DropPack(3))
    bench.later(1)
    assert bench.sums() == {"hot": 1, "cool": 1, "cold": 2}


def test_a_run_tells_how_far_it_is_and_ends_when_it_is_told(bench: Bench) -> None:
    bench.later(0)
    bench.later(31)
    bench.store.gone = {4}
    told: list[Mapping[str, object]] = []
    bench.work.run(Policy(cool_after_days=30), lambda progress: told.append(dict(progress)))
    assert told[-1] == {"cool_packs": 3, "cool_bytes": 6 * MIB, "cool_gone": 1}
    bench.store.gone = set()

    class EndedError(Exception):
        """Nobody wants it any more."""

    def end(_progress: Mapping[str, object]) -> None:
        raise EndedError

    with pytest.raises(EndedError):
        bench.work.run(Policy(cool_after_days=30), end)
    bench.store.fails = True
    with pytest.raises(ControlError, match="no such tier"):
        bench.work.run(Policy(cool_after_days=30), lambda _progress: None)
    assert bench.sums()["cool"] == 3


def test_packs_that_would_be_charged_for_leaving_early_are_not_compacted(bench: Bench) -> None:
    bench.policy = ALL
    bench.later(0)
    bench.later(30, 4)
    now_s = int(bench.now_s)
    assert bench.sparse(None) == [1, 2, 3, 4]
    assert bench.sparse(now_s) == [4]
    assert bench.sparse(now_s + 30 * DAY_S - 1) == [4]
    assert bench.sparse(now_s + 30 * DAY_S) == [1, 2, 3, 4]
    bench.later(90)
    assert bench.sums()["cold"] == 4
    assert bench.sparse(int(bench.now_s) + 89 * DAY_S) == []
    assert bench.sparse(int(bench.now_s) + 90 * DAY_S) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "fields",
    [
        {"cool_after_days": 0},
        {"cool_after_days": 30, "cold_after_days": 30},
        {"enabled": True, "cool_after_days": None},
        {"min_pack_bytes": -1},
        {"unknown": 1},
        {"cool_after_days": "soon"},
        7,
    ],
)
def test_wrong_policies_are_refused(fields: object) -> None:
    with pytest.raises(ControlError) as caught:
        tiering.parse(fields)
    assert caught.value.code == "invalid"


def test_the_policy_is_kept(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert tiering.read(state) == Policy()
    tiering.write(state, ALL)
    assert tiering.read(state) == ALL
    state.tiering_file.write_text(state.tiering_file.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StartError, match="newer"):
        tiering.read(state)
    state.tiering_file.write_bytes(b"[]")
    with pytest.raises(StartError, match="damaged"):
        tiering.read(state)


def test_a_directory_has_no_tiers(tmp_path: Path) -> None:
    with pytest.raises(ControlError) as caught:
        open_tiers(f"file://{tmp_path}", os.environ)
    assert caught.value.code == "no_tiers"


@pytest.mark.azurite
@pytest.mark.parametrize("prefix", ["", "/team/a"])
def test_azure_moves_packs(azurite: Azurite, prefix: str) -> None:
    url = f"az://tiers{prefix}"
    roots = open_root_store(url, azurite.environment)
    roots.create()
    roots.close()
    objects = PackStore(url, core_options(url, azurite.environment))
    here = (1 << 40) + 0x1234
    assert objects.put_object(pack_key(here), b"pack")
    tiers = open_tiers(url, azurite.environment)
    service = service_client(azure_credentials(azurite.environment))
    blob = service.get_blob_client("tiers", f"{prefix}/{pack_key(here)}".lstrip("/"))
    for tier in ("cool", "cold", "cold", "hot"):
        assert tiers.set([here, here + 1], tier) == [here]
        assert str(blob.get_blob_properties().blob_tier) == tier.capitalize()
        assert blob.download_blob().readall() == b"pack"
    tiers.close()
    service.close()
