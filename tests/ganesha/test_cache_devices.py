"""Shelves of a real server that are block devices: what is taken and what refused, restarts, damage, loss and return."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganesha.test_cache_tiers import FILE_BYTES, FILES, MIB, Tiers, filled, restart
from tests.support.loop_disk import LoopDevice, run
from tests.support.processes import wait_until
from tests.support.small_disk import SmallDisk

DEVICE_BYTES = 160 * MIB
SHELF_BYTES = 128 * MIB


@pytest.fixture(scope="module")
def loop(private_network: None, module_disk_path: Path) -> Iterator[LoopDevice]:
    with LoopDevice(module_disk_path / "loop", DEVICE_BYTES) as made:
        yield made


@pytest.fixture(scope="module")
def tiers(loop: LoopDevice, module_disk_path: Path) -> Iterator[Tiers]:
    with filled(module_disk_path) as made:
        yield made


def wipe(device: str) -> None:
    run("wipefs", "--all", device)
    pages = DEVICE_BYTES // 4096
    for seek in (0, pages - 256):
        run(
            *("dd", "if=/dev/zero", f"of={device}", "bs=4096", "count=256"),
            *(f"seek={seek}", "status=none", "conv=fsync"),
        )


# In the order in which they stand: starts take their time, so each is used for several facts.


def test_what_may_hold_somebodys_data_is_refused(tiers: Tiers, loop: LoopDevice) -> None:
    run("mkfs.ext4", "-q", "-L", "precious", loop.device)
    told = tiers.refused("shelf_add", path=loop.device).message
    assert "ext4 with the label precious" in told
    assert f"wipefs --all {loop.device}" in told
    mounted = tiers.directory("mounted")
    run("mount", loop.device, mounted)
    assert "is in use" in tiers.refused("shelf_add", path=loop.device).message
    run("umount", mounted)
    run("wipefs", "--all", loop.device)
    run("sfdisk", "--quiet", "--label", "gpt", loop.device, stdin=",\n")
    assert "a partition table (gpt)" in tiers.refused("shelf_add", path=loop.device).message
    wipe(loop.device)
    assert "holds" in tiers.refused("shelf_add", path=loop.device, bytes=DEVICE_BYTES * 2).message
    assert loop.device not in [one["path"] for one in tiers.cache()["shelves"]]
    assert "no block device" in tiers.refused("shelf_add", path=f"{loop.device}-none").message


@pytest.mark.parametrize("at", [700_000, DEVICE_BYTES - 9], ids=["head", "tail"])
def test_data_that_no_program_knows_is_refused(tiers: Tiers, loop: LoopDevice, at: int) -> None:
    with Path(loop.device).open("r+b") as device:
        device.seek(at)
        device.write(b"precious")
    loop.forget()
    assert run("wipefs", loop.device) == "", "nothing of it has a known form"
    told = tiers.refused("shelf_add", path=loop.device).message
    assert "data of an unknown kind" in told
    # The remedy is what it says: its commands make the device blank.
    wiping = told.split("`")[1]
    assert wiping.startswith(f"wipefs --all {loop.device} && dd ")
    run("sh", "-c", wiping)
    with Path(loop.device).open("rb") as device:
        device.seek(at)
        assert device.read(8) == bytes(8)


def test_a_device_is_taken_once_and_no_larger_than_it_is(tiers: Tiers, loop: LoopDevice) -> None:
    run("mkswap", loop.device)
    assert "holds swap" in tiers.refused("shelf_add", path=loop.device).message
    wipe(loop.device)
    (tiers.disk / "twin").symlink_to(loop.device)
    made = tiers.call("shelf_add", path=loop.device, bytes=SHELF_BYTES)
    assert made["bytes"] == SHELF_BYTES
    assert "by another name" in tiers.refused("shelf_add", path=str(tiers.disk / "twin")).message
    assert "fewer than" in tiers.refused("shelf_resize", path=loop.device, bytes=DEVICE_BYTES).message


def test_blocks_move_to_a_device_and_are_there_after_a_restart(tiers: Tiers, loop: LoopDevice) -> None:
    first = tiers.server.state / "l2"
    tiers.settle()
    drained = tiers.finished(tiers.call("shelf_drain", path=str(first)))
    assert drained["state"] == "done", drained
    device = Path(loop.device)
    wait_until(lambda: tiers.shelf(device)["bytes"] >= FILES * FILE_BYTES, "what was moved is written")
    assert tiers.call("shelf_remove", path=str(first)) == {"left": None}
    assert tiers.read_all() == 0
    restart(tiers)
    assert [one["path"] for one in tiers.cache()["shelves"]] == [loop.device]
    assert tiers.read_all() == 0
    assert tiers.shelf(device)["hits"] > 0
    assert tiers.shelf(device)["bytes"] > 0
    assert loop.device not in [one["path"] for one in tiers.call("status")["disks"].values()]


def test_a_device_that_goes_away_is_reported_and_taken_back(tiers: Tiers, loop: LoopDevice) -> None:
    device = Path(loop.device)
    loop.take_away()
    wait_until(lambda: tiers.shelf(device)["state"] == "failed", "it is noticed", timeout_s=30)
    assert tiers.read_all() > 0
    loop.bring_back()
    wait_until(lambda: tiers.shelf(device)["state"] == "ok", "it is taken back", timeout_s=60)
    tiers.settle()


def test_a_flipped_bit_on_a_device_is_never_served(tiers: Tiers, loop: LoopDevice) -> None:
    tiers.server.cli("down")
    loop.damage(MIB + 5000, 100_000)
    tiers.server.start()
    tiers.read_all()
    assert tiers.shelf(Path(loop.device))["damaged_blocks"] > 0
    assert tiers.cache()["unreadable_blocks"] == 0
    tiers.settle()


def test_a_removed_device_is_blank_for_others_and_what_it_held_is_nobodys(
    tiers: Tiers, loop: LoopDevice
) -> None:
    spare = tiers.directory("spare")
    tiers.call("shelf_add", path=str(spare), bytes=SHELF_BYTES)
    assert tiers.call("shelf_remove", path=loop.device) == {"left": None}
    assert run("wipefs", loop.device) == ""
    tiers.call("shelf_remove", path=str(spare))
    tiers.call("shelf_add", path=loop.device, bytes=SHELF_BYTES)
    assert tiers.shelf(Path(loop.device))["bytes"] == 0
    assert tiers.read_all() > 0, "no block of the shelf before is one of this"
    tiers.settle()


def test_a_device_that_takes_no_more_writes_is_left_until_it_does(
    tiers: Tiers, loop: LoopDevice, module_disk_path: Path
) -> None:
    """Its backing file cannot grow: the kernel answers writes with EIO, and reads work."""
    with (
        SmallDisk(module_disk_path / "full", 2 * MIB) as small,
        LoopDevice(small.path / "loop", DEVICE_BYTES) as ill,
    ):
        device = Path(ill.device)
        tiers.call("shelf_add", path=ill.device, bytes=SHELF_BYTES)
        small.fill()
        tiers.call("shelf_remove", path=loop.device)
        wait_until(lambda: tiers.read_all() and tiers.shelf(device)["state"] == "full", "it is noticed", 60)
        assert "takes no blocks" in tiers.shelf(device)["why"]
        assert tiers.read_all() > 0, "the store has what the device does not take"
        run("mount", "-o", f"remount,size={DEVICE_BYTES}", small.path)
        # It is left alone for half a minute.
        wait_until(lambda: tiers.shelf(device)["state"] == "ok", "it is tried again", timeout_s=60)
        tiers.settle()
        tiers.call("shelf_add", path=loop.device, bytes=SHELF_BYTES)
        tiers.call("shelf_remove", path=ill.device)
