"""Live settings of the cache: what lasts, what the configuration overtakes, what a crash leaves; and paths to blocks."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway._core import BLOCK_PAYLOAD_BYTES
from gateway.cache import settings, walk
from gateway.cache.heat import NAMES, Heat, Parents
from gateway.cache.jobs import Jobs
from gateway.cache.settings import Configured, Settings
from gateway.cache.tiers import Tiers
from gateway.errors import ConfigError, ControlError, Reason, StartError
from gateway.metadata.attributes import DIRECTORY, REGULAR
from tests.support.processes import wait_until

MIB, GIB = 1 << 20, 1 << 30


class Fake:
    """Core and cache, as far as they are asked; fails: what every call raises."""

    def __init__(self) -> None:
        self.l1_bytes = 0
        self.shelves: dict[str, int] = {}
        self.draining: set[str] = set()
        self.fails = False

    def resize_l1(self, bytes: int) -> None:
        self.l1_bytes = bytes

    def add_shelf(self, directory: str, bytes: int) -> None:
        self.shelves[directory] = bytes
        if self.fails:
            raise OSError("its disk is gone")

    def remove_shelf(self, directory: str) -> None:
        del self.shelves[directory]

    def drain_shelf(self, directory: str, draining: bool) -> None:
        self.draining = self.draining | {directory} if draining else self.draining - {directory}

    def resize_shelf(self, directory: str, bytes: int) -> None:
        self.shelves[directory] = bytes


NOTHING = Configured()


def opened(file: Path, configured: Configured = NOTHING) -> tuple[Fake, Tiers]:
    fake = Fake()
    kept = settings.in_force(settings.read(file), configured)
    tiers = Tiers(
        fake,
        fake,
        file,
        kept,
        l1_bytes=configured.l1_bytes or 64 * MIB,
        shelves=configured.shelves or (),
        reserved=[file.parent / "journal"],
        errors=OSError,
    )
    tiers.open()
    return fake, tiers


def test_changes_last_until_the_configuration_says_something_else(tmp_path: Path) -> None:
    file, shelf = tmp_path / "cache.json", tmp_path / "shelf"
    shelf.mkdir()
    _, tiers = opened(file)
    tiers.resize_l1(128 * MIB)
    tiers.add_shelf(shelf, 64 * MIB)
    tiers.set_pins(["/data/a"])
    fake, tiers = opened(file)
    assert (tiers.l1_bytes, fake.shelves, tiers.pins) == (128 * MIB, {str(shelf): 64 * MIB}, ("/data/a",))
    assert tiers.describe()["changed"] == ["l1_bytes", "shelf"]
    fake, tiers = opened(file, Configured(l1_bytes=32 * MIB))
    assert (tiers.l1_bytes, fake.shelves) == (32 * MIB, {str(shelf): 64 * MIB})
    # What was overtaken does not come back with the old configuration, once something else was changed.
    tiers.resize_shelf(str(shelf), 96 * MIB)
    assert opened(file)[1].l1_bytes == 64 * MIB


def test_a_crash_before_the_settings_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cache.json"
    _, tiers = opened(file)
    tiers.resize_l1(128 * MIB)

    def killed(name: str) -> None:
        if name == "cache.before_settings":
            raise KeyboardInterrupt

    monkeypatch.setattr(settings._core, "failpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        tiers.resize_l1(256 * MIB)
    assert opened(file)[1].l1_bytes == 128 * MIB


def test_damaged_settings_are_passed_over_and_newer_ones_refused(tmp_path: Path) -> None:
    file = tmp_path / "cache.json"
    for text in (
        b"",
        b"{",
        b'{"format": 1, "l1_bytes": "x"}',
        b"[]",
        b'{"format": 1, "shelves": [{}]}',
        b"\xff",
    ):
        file.write_bytes(text)
        assert settings.read(file) == Settings()
    file.write_bytes(b'{"format": 2, "more": 1}')
    with pytest.raises(StartError) as caught:
        settings.read(file)
    assert caught.value.reason is Reason.NEWER_FORMAT


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_none(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.json"
    file.write_bytes(text)
    assert isinstance(settings.read(file), Settings)


def test_a_shelf_that_cannot_be_opened_is_not_added(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    fake, tiers = opened(tmp_path / "cache.json")
    fake.fails = True
    with pytest.raises(ControlError, match="disk is gone"):
        tiers.add_shelf(shelf, 64 * MIB)
    assert not fake.shelves
    assert not tiers.shelves


def test_shelves_of_the_configuration(tmp_path: Path) -> None:
    given = {"state": str(tmp_path), "shelf": ["/mnt/a=1GiB", "/mnt/b=500MiB"]}
    loaded = config.load(flags=given)
    assert [str(shelf) for shelf in loaded.shelves] == ["/mnt/a=1073741824", "/mnt/b=524288000"]
    assert loaded.l2_bytes == 0
    file = tmp_path / "again.toml"
    file.write_text(loaded.to_toml(everything=True))
    assert config.load(file).shelves == loaded.shelves
    for wrong, message in (
        (["/mnt/a"], "names no size"),
        (["/mnt/a=1GiB", "/mnt/a/b=1GiB"], "lie in each other"),
        ([f"{tmp_path}/journal/x=1GiB"], "lie in each other"),
        (["/mnt/a=1MiB"], "out of range"),
        ([7], "not a shelf"),
    ):
        with pytest.raises(ConfigError, match=message):
            config.load(flags={**given, "shelf": wrong})
    with pytest.raises(ConfigError, match="not in this order"):
        config.load(flags={"l1_bytes": "1GiB", "l1_max_bytes": "512MiB"})


@given(st.lists(st.tuples(st.integers(0, 1 << 24), st.integers(1, 9), st.integers(0, 1 << 24)), max_size=20))
def test_extents_become_the_blocks_that_hold_them(pieces: list[tuple[int, int, int]]) -> None:
    extents = [(0, length, pack, at) for length, pack, at in pieces]
    blocks: walk.Blocks = {}
    walk.add(blocks, extents)
    wanted = {
        (pack, block)
        for _, length, pack, at in extents
        if length
        for block in range(at // BLOCK_PAYLOAD_BYTES, (at + length - 1) // BLOCK_PAYLOAD_BYTES + 1)
    }
    runs = list(walk.runs(blocks))
    assert {(pack, first + n) for pack, first, count in runs for n in range(count)} == wanted
    assert sum(count for _, _, count in runs) == len(wanted)
    assert walk.bytes_of(walk.union([blocks, blocks])) == len(wanted) * walk.BLOCK_BYTES


def test_a_job_is_cancelled_between_two_steps() -> None:
    jobs = Jobs(iter(["a", "b"]).__next__)

    def endless(job: Any) -> None:
        while True:
            job.step(rounds=job.progress.get("rounds", 0) + 1)

    started = jobs.start("test", endless)
    wait_until(lambda: jobs.get("a").progress.get("rounds", 0) > 2, "it works")
    jobs.get(started["id"]).cancel()
    wait_until(lambda: jobs.get("a").state == "cancelled", "it ends")
    with pytest.raises(ControlError):
        jobs.get("c")


def test_directories_of_what_is_used_are_told_and_bounded() -> None:
    parents = Parents()
    parents.note(5, 1, b"projects")
    parents.note(6, 5, b"film.mov")
    parents.note(8, 7, b"other.mov")
    parents.note(7, 5, b"exported")
    now_s = [0.0]
    zero = (0.0,) * 6
    sample = [(6, 8.0, 8 * 4096.0)] * 10 + [(0, 8.0, 0.0)]
    found = {"files": [(6, zero), (8, zero), (99, zero)], "clients": [("10.0.0.1", zero)], "all": zero}
    heat = Heat(
        lambda: {**found, "sample": list(sample)},
        parents,
        lambda: {1: "/data", 7: "/films"},
        lambda: now_s[0],
    )
    for _ in range(100):
        now_s[0] += 2.0
        heat.look()
    told = heat.describe(5)
    assert [one["path"] for one in told["files"]] == ["/data/projects/film.mov", "/films/other.mov", None]
    (directory,) = told["directories"]
    assert directory["path"] == "/data/projects"
    assert 36 < directory["operations"] < 44, "80 in two seconds"
    for inode in range(100, 100 + 3 * NAMES):
        parents.note(inode, 1, b"x")
    assert parents.of(6) is None


def test_kinds_that_are_no_files_are_passed_over() -> None:
    class Attributes:
        def __init__(self, inode: int, kind: int) -> None:
            self.inode, self.kind = inode, kind

    class Names:
        def readdir(self, directory: int, after_cookie: int, limit: int) -> list[Any]:
            class Entry:
                cookie = 3
                attributes = Attributes(2, REGULAR)

            return [Entry()] if directory == 1 and not after_cookie else []

    names = Names()
    pages = list(walk.files(names, Attributes(1, DIRECTORY)))
    assert [one.inode for page in pages for one in page] == [2]
