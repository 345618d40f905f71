"""The cache of a real server: sizes and shelves that change while clients read, restarts, damage, pins."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.control import ControlClient
from gateway.errors import ControlError
from tests.support.caudal import EXPORT, Caudal, undisturbed
from tests.support.processes import wait_until

MIB = 1 << 20
FILES = 6
FILE_BYTES = 2 * MIB


def pattern(number: int) -> bytes:
    return b"".join((number * 1_000_003 + n).to_bytes(8, "big") for n in range(FILE_BYTES // 8))


class Tiers:
    """A running server with files in its store, and what its cache says."""

    def __init__(self, server: Caudal, disk: Path) -> None:
        self.server = server
        self.disk = disk

    def call(self, op: str, **fields: object) -> Any:
        with ControlClient(self.server.state / "run/control.sock") as control:
            return control.call(op, **fields)

    def cache(self) -> dict[str, Any]:
        return self.call("status")["cache"]

    def shelf(self, path: Path) -> dict[str, Any]:
        return next(one for one in self.cache()["shelves"] if one["path"] == str(path))

    def gets(self) -> int:
        return int(self.call("status")["objects"]["gets"])

    def directory(self, name: str) -> Path:
        path = self.disk / name
        path.mkdir()
        return path

    def read_all(self) -> int:
        """Reads all files from below memory; returns how many requests of the store that took."""
        self.call("cache_drop", l1=True)
        before = self.gets()
        with self.server.connect() as nfs:
            for number in range(FILES):
                assert nfs.read_file(f"/tree/f{number}") == pattern(number)
        return self.gets() - before

    def settle(self) -> None:
        """All blocks are on the shelves."""
        wait_until(lambda: self.read_all() == 0, "everything is read from L2")

    def finished(self, job: dict[str, Any]) -> dict[str, Any]:
        """A job when it has ended."""
        wait_until(lambda: self.call("cache_job", id=job["id"])["state"] != "running", "the job ends")
        return self.call("cache_job", id=job["id"])

    def refused(self, op: str, **fields: object) -> ControlError:
        with pytest.raises(ControlError) as caught:
            self.call(op, **fields)
        return caught.value


@contextmanager
def filled(disk_path: Path) -> Iterator[Tiers]:
    """A server whose files are in the store, and its cache."""
    with undisturbed(disk_path) as make:
        server = make(options=("--l1-bytes", "64MiB", "--l2-bytes", "128MiB")).start()
        with server.connect() as nfs:
            nfs.mkdir("/tree")
            for number in range(FILES):
                nfs.write_file(f"/tree/f{number}", pattern(number))
        server.flush()
        yield Tiers(server, disk_path)


@pytest.fixture(scope="module")
def tiers(private_network: None, module_disk_path: Path) -> Iterator[Tiers]:
    with filled(module_disk_path) as made:
        yield made


def restart(tiers: Tiers) -> None:
    tiers.server.cli("down")
    tiers.server.start()


# In the order in which they stand: starts take their time, so each is used for several facts.


def test_sizes_and_shelves_change_while_clients_read_and_last(tiers: Tiers) -> None:
    tiers.call("cache_resize", l1_bytes=32 * MIB)
    assert tiers.cache()["l1"]["capacity_bytes"] == 32 * MIB
    assert tiers.cache()["settings"]["changed"] == ["l1_bytes"]
    tiers.settle()
    first, second = tiers.server.state / "l2", tiers.directory("second")
    tiers.call("shelf_add", path=str(second), bytes=128 * MIB)
    assert tiers.read_all() == 0
    drained = tiers.finished(tiers.call("shelf_drain", path=str(first)))
    assert drained["state"] == "done", drained
    assert drained["progress"]["moved_blocks"] > 0
    assert tiers.shelf(first)["state"] == "draining"
    wait_until(lambda: tiers.shelf(second)["bytes"] >= FILES * FILE_BYTES, "what was moved is written")
    assert tiers.call("shelf_remove", path=str(first)) == {"left": None}
    assert tiers.read_all() == 0
    restart(tiers)
    assert [one["path"] for one in tiers.cache()["shelves"]] == [str(second)]
    assert tiers.cache()["l1"]["capacity_bytes"] == 32 * MIB
    assert tiers.cache()["settings"]["changed"] == ["l1_bytes", "shelf"]
    assert tiers.read_all() == 0
    assert tiers.shelf(second)["hits"] > 0


def test_shelves_that_make_no_sense_are_refused(tiers: Tiers, tmp_path: Path) -> None:
    held = tiers.cache()["shelves"][0]["path"]
    inside = Path(held) / "inside"
    inside.mkdir()
    assert "lie in each other" in tiers.refused("shelf_add", path=str(inside), bytes=128 * MIB).message
    inside.rmdir()
    journal = tiers.server.state / "journal"
    assert "lie in each other" in tiers.refused("shelf_add", path=str(journal), bytes=128 * MIB).message
    assert (
        "is no directory and no block device"
        in tiers.refused("shelf_add", path=str(tmp_path / "none")).message
    )
    assert "holds" in tiers.refused("shelf_add", path=str(tmp_path), bytes=1 << 60).message
    assert "too few" in tiers.refused("shelf_add", path=str(tmp_path), bytes=1).message
    assert "only shelf" in tiers.refused("shelf_drain", path=held).message
    assert "is no shelf" in tiers.refused("shelf_remove", path=str(tmp_path)).message
    assert "too few" in tiers.refused("cache_resize", l1_bytes=1).message


def test_a_shelf_that_goes_away_is_reported_and_taken_back(tiers: Tiers) -> None:
    path = Path(tiers.cache()["shelves"][0]["path"])
    away = path.with_name("away")
    path.rename(away)
    wait_until(lambda: tiers.shelf(path)["state"] == "failed", "it is noticed")
    assert tiers.read_all() > 0
    log = tiers.server.state / "run/log/gateway.log"
    wait_until(lambda: "shelf.trouble" in log.read_text(), "it is logged")
    away.rename(path)
    wait_until(lambda: tiers.shelf(path)["state"] == "ok", "it is taken back", timeout_s=30)
    assert log.read_text().count("shelf.trouble") == 1
    assert tiers.read_all() == 0


def test_warm_and_pin(tiers: Tiers) -> None:
    tiers.call("cache_drop")
    assert "is in no export" in tiers.refused("cache_warm", path="/elsewhere").message
    assert "there is no" in tiers.refused("cache_warm", path=f"{EXPORT}/none").message
    warmed = tiers.finished(tiers.call("cache_warm", path=f"{EXPORT}/tree"))
    assert warmed["state"] == "done", warmed
    progress = warmed["progress"]
    assert progress["files"] == FILES
    assert progress["done_bytes"] == progress["bytes"] == progress["fetched_bytes"] >= FILES * FILE_BYTES
    tiers.settle()
    pinned = tiers.finished(tiers.call("cache_pin", path=f"{EXPORT}/tree/"))
    assert pinned["state"] == "done", pinned
    assert pinned["progress"]["fetched_bytes"] == 0
    pin = tiers.call("cache_pins")["items"][0]
    assert (pin["path"], pin["why"]) == (f"{EXPORT}/tree", None)
    assert pin["held_bytes"] == pin["bytes"]


def test_a_pin_that_does_not_fit_is_refused_with_what_would(tiers: Tiers) -> None:
    with tiers.server.connect() as nfs:
        nfs.mkdir("/large")
        for number in range(5):
            nfs.write_file(f"/large/{number}", os.urandom(16 * MIB))
    tiers.server.flush()
    job = tiers.finished(tiers.call("cache_pin", path=f"{EXPORT}/large"))
    assert job["state"] == "failed"
    assert "are left of the" in job["error"]
    assert [one["path"] for one in tiers.call("cache_pins")["items"]] == [f"{EXPORT}/tree"]


def test_after_a_restart_a_flipped_bit_is_never_served_and_pins_are_kept(tiers: Tiers) -> None:
    pin = tiers.call("cache_pins")["items"][0]
    path = Path(tiers.cache()["shelves"][0]["path"])
    tiers.server.cli("down")
    for region in (path / "data").iterdir():
        damaged = bytearray(region.read_bytes())
        for at in range(5000, len(damaged), 100_000):
            damaged[at] ^= 0x04
        region.write_bytes(damaged)
    # Who changes the configuration means it: what was set live before is overtaken.
    elastic = ("--l1-max-bytes", "96MiB", "--cache-policy-interval-s", "5")
    tiers.server.options = ("--l1-bytes", "48MiB", "--l2-bytes", "128MiB", *elastic)
    tiers.server.start()
    assert tiers.cache()["l1"]["capacity_bytes"] == 48 * MIB
    assert tiers.cache()["settings"]["changed"] == ["shelf"]
    tiers.read_all()
    assert tiers.shelf(path)["damaged_blocks"] > 0
    assert tiers.cache()["unreadable_blocks"] == 0

    def known_again() -> bool:
        found = tiers.call("cache_pins")["items"]
        return bool(found) and found[0]["why"] is None and found[0]["held_bytes"] == pin["bytes"]

    wait_until(known_again, "the pin is known, and its damaged blocks are brought again")
    assert tiers.cache()["pinned_blocks"] * (MIB // 4) == pin["bytes"]
    tiers.call("cache_unpin", path=f"{EXPORT}/tree")
    assert tiers.call("cache_pins")["items"] == []
    assert "not pinned" in tiers.refused("cache_unpin", path=f"{EXPORT}/tree").message


def test_activity_tells_clients_files_and_directories(tiers: Tiers) -> None:
    with tiers.server.connect() as nfs:
        for _ in range(60):
            assert nfs.read_file("/tree/f3") == pattern(3)
    wait_until(lambda: tiers.call("activity")["all"]["reads"] > 0, "the notes are looked at")
    found = tiers.call("activity", most=2)
    assert found["clients"][0]["address"] in ("127.0.0.1", "::1")
    assert found["clients"][0]["names"] >= 0
    assert found["files"][0]["path"] == f"{EXPORT}/tree/f3"
    assert found["files"][0]["read_bytes"] > 0
    assert found["directories"][0]["path"] == f"{EXPORT}/tree"


def test_l1_grows_by_itself_where_misses_cost_more(tiers: Tiers) -> None:
    def grows() -> bool:
        with tiers.server.connect() as nfs:
            for number in range(5):
                nfs.read_file(f"/large/{number}")
        return bool(tiers.call("cache_policy")["changes"])

    wait_until(grows, "the policy finds that L1 is too small", timeout_s=40)
    told = tiers.call("cache_policy")
    change = told["changes"][-1]
    assert (change["tier"], change["from_bytes"]) == ("l1", 48 * MIB)
    assert change["reason"] == "misses cost more than a larger cache"
    assert change["miss_cost"] > change["step_cost"]
    assert tiers.cache()["l1"]["capacity_bytes"] == told["changes"][0]["bytes"] > 48 * MIB
    assert told["latest"].keys() == {"l1", "l2"}
    assert "cache.policy" in (tiers.server.state / "run/log/gateway.log").read_text()
