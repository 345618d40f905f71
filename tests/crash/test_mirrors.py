"""Journal mirrors on small disks of their own: one that fails, fills, vanishes or is damaged costs no client anything, and
comes back by itself; one that was left behind is never taken for the whole.
"""

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.caudal import Caudal, StartFailed
from tests.support.loop_disk import LoopDisk
from tests.support.processes import wait_until
from tests.support.small_disk import SmallDisk

MIB = 1 << 20
# Nothing is flushed by itself: what a test acknowledges is in the journal alone.
OPTIONS = (
    "--segment-bytes",
    "4MiB",
    "--journal-limit-bytes",
    "64MiB",
    "--flush-age-s",
    "3600",
    "--mirror-wait-s",
    "2",
)
DISK_BYTES = 160 * MIB
CAUSED = (r"journal|mirror|steward|ganesha|killed|died|ended|restart|failpoint|control|connection",)


class Mirrored:
    """A server with two mirrors, and what its clients were told is safe."""

    def __init__(self, server: Caudal, disks: Sequence[SmallDisk | LoopDisk]) -> None:
        self.server, self.disks = server, disks
        self.written: dict[str, bytes] = {}

    def dir(self, number: int) -> Path:
        return self.disks[number].path

    def write(self, *names: str, size: int = 300_000) -> None:
        """Stable writes, each acknowledged."""
        with self.server.connect(timeout_s=30) as client:
            for name in names:
                self.written[name] = name.encode() * (size // len(name))
                client.write_file(f"/{name}", self.written[name])

    def check(self) -> None:
        """Everything acknowledged is there."""
        with self.server.connect(timeout_s=30) as client:
            for name, data in self.written.items():
                assert client.read_file(f"/{name}") == data, name

    def states(self) -> list[str]:
        return [mirror["state"] for mirror in self.server.status()["journal"]["mirrors"]]

    def wait_states(self, *states: str) -> None:
        wait_until(lambda: self.states() == list(states), f"mirrors {states}", 30, interval_s=0.1)

    def alerts(self) -> set[str]:
        return {alert["what"] for alert in self.server.status()["alerts"]}

    def power_cut(self) -> None:
        self.server.kill_everything()

    def start_with(self, *numbers: int, accept: bool = False) -> None:
        """Starts on some of the disks."""
        chosen = [part for number in numbers for part in ("--journal", str(self.dir(number)))]
        self.server.options = (*OPTIONS, *chosen, *(("--accept-loss",) if accept else ()))
        self.server.start()


@pytest.fixture
def mirrored(caudal: Callable[..., Caudal], tmp_path: Path) -> Iterator[Mirrored]:
    with ExitStack() as stack:
        disks = [stack.enter_context(SmallDisk(tmp_path / f"disk{n}", DISK_BYTES)) for n in range(2)]
        yield stack.enter_context(serving(caudal(), disks))


@pytest.fixture
def on_ext4(caudal: Callable[..., Caudal], tmp_path: Path) -> Iterator[Mirrored]:
    with ExitStack() as stack:
        disks = [
            stack.enter_context(LoopDisk(tmp_path / f"disk{n}", tmp_path / f"disk{n}.ext4", DISK_BYTES))
            for n in range(2)
        ]
        yield stack.enter_context(serving(caudal(), disks))


@contextlib.contextmanager
def serving(server: Caudal, disks: Sequence[SmallDisk | LoopDisk]) -> Iterator[Mirrored]:
    server.expect(*CAUSED)
    made = Mirrored(server, disks)
    made.start_with(0, 1)
    try:
        yield made
    finally:
        server.stop()


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


def unmount(disk: SmallDisk | LoopDisk) -> None:
    subprocess.run(["umount", "--lazy", str(disk.path)], check=True)


def mount(disk: SmallDisk | LoopDisk) -> None:
    options = f"size={DISK_BYTES},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(disk.path)], check=True)


def flip_a_bit(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_a_mirror_that_is_lost_comes_back_while_clients_write(mirrored: Mirrored) -> None:
    mirrored.write("both")
    # Its files are gone, and the disk is full.
    disk = mirrored.disks[1]
    assert isinstance(disk, SmallDisk)
    for path in mirrored.dir(1).iterdir():
        path.unlink()
    disk.fill()
    mirrored.write(*(f"one{n}" for n in range(40)))
    wait_until(lambda: mirrored.states()[1] != "healthy", "the loss", 30)
    assert "journal_one_mirror_left" in mirrored.alerts()
    disk.relieve()
    mirrored.write("meanwhile")
    mirrored.wait_states("healthy", "healthy")
    assert mirrored.alerts() == set()
    mirrored.write("again")
    # The one that came back is enough by itself.
    mirrored.power_cut()
    for path in mirrored.dir(0).iterdir():
        path.unlink()
    mirrored.start_with(0, 1)
    mirrored.check()
    mirrored.wait_states("healthy", "healthy")
    mirrored.server.fsck()


def test_mirrors_are_taken_out_and_in(mirrored: Mirrored) -> None:
    mirrored.server.cli("journal", "mirror", "remove", str(mirrored.dir(1)))
    assert mirrored.states() == ["healthy"]
    refused = mirrored.server.run(
        "journal", "mirror", "remove", str(mirrored.dir(0)), "--state", str(mirrored.server.state)
    )
    assert refused.returncode != 0
    assert "healthy" in refused.stderr
    mirrored.write("before")
    mirrored.server.cli("journal", "mirror", "add", str(mirrored.dir(1)))
    mirrored.wait_states("healthy", "healthy")
    mirrored.write("after")
    listed = json.loads(mirrored.server.cli("journal", "mirror", "list", "--json"))
    assert [mirror["path"] for mirror in listed] == [str(mirrored.dir(number)) for number in (0, 1)]
    mirrored.power_cut()
    # What was added is known to the next start; the first disk is not mounted.
    unmount(mirrored.disks[0])
    mirrored.server.options = OPTIONS
    mirrored.server.start()
    assert mirrored.states()[0] == "lost"
    # Nor by the start after that one, when no list names it any more.
    mirrored.server.stop()
    mirrored.server.start()
    mirrored.write("twice without")
    assert mirrored.states()[0] == "lost"
    assert not any(mirrored.dir(0).iterdir())
    mirrored.check()
    mount(mirrored.disks[0])
    mirrored.wait_states("healthy", "healthy")
    mirrored.check()


def test_what_was_changed_by_hand_holds_over_what_a_start_is_given(mirrored: Mirrored) -> None:
    """As where the configuration is written anew at each start."""
    mirrored.server.cli("journal", "mirror", "remove", str(mirrored.dir(1)))
    mirrored.write("alone")
    mirrored.server.stop()
    mirrored.start_with(0, 1)
    assert mirrored.states() == ["healthy"]
    mirrored.server.cli("journal", "mirror", "add", str(mirrored.dir(1)))
    mirrored.wait_states("healthy", "healthy")
    mirrored.write("both")
    mirrored.server.stop()
    mirrored.start_with(0)
    mirrored.wait_states("healthy", "healthy")
    mirrored.check()


@pytest.mark.parametrize("step", ["before", "after"])
def test_death_while_a_mirror_is_taken_out(mirrored: Mirrored, step: str) -> None:
    mirrored.write("first")
    mirrored.server.stop()
    mirrored.server.start(failpoints=f"mirrors.{step}_remember=kill@1")
    words = ("journal", "mirror", "remove", str(mirrored.dir(1)), "--state", str(mirrored.server.state))
    assert mirrored.server.run(*words).returncode != 0
    mirrored.power_cut()
    mirrored.start_with(0, 1)
    # Before anything was kept of it, it was not done.
    mirrored.wait_states(*(("healthy", "healthy") if step == "before" else ("healthy",)))
    mirrored.check()


def test_without_any_mirror_writes_wait_until_one_is_there_again(mirrored: Mirrored, tmp_path: Path) -> None:
    mirrored.server.cli("journal", "mirror", "remove", str(mirrored.dir(1)))
    mirrored.write("before")
    disk = mirrored.disks[0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["mount", "--bind", str(disk.path), str(elsewhere)], check=True)
    try:
        # Nobody writes: it is missed, and taken back, all the same.
        unmount(disk)
        wait_until(lambda: "journal_without_mirror" in mirrored.alerts(), "the alert", 30)
        subprocess.run(["mount", "--bind", str(elsewhere), str(disk.path)], check=True)
        mirrored.wait_states("healthy")
        assert mirrored.alerts() == set()
        unmount(disk)
        wait_until(lambda: "journal_without_mirror" in mirrored.alerts(), "the second alert", 30)
        writing = threading.Thread(target=mirrored.write, args=("late",))
        writing.start()
        writing.join(3)
        assert writing.is_alive(), "a write was acknowledged without any mirror"
    finally:
        subprocess.run(["mount", "--bind", str(elsewhere), str(disk.path)], check=True)
        subprocess.run(["umount", "--lazy", str(elsewhere)], check=True)
    writing.join(60)
    assert not writing.is_alive()
    mirrored.wait_states("healthy")
    assert mirrored.alerts() == set()
    mirrored.power_cut()
    mirrored.start_with(0)
    mirrored.check()


def test_a_disk_that_turns_read_only(on_ext4: Mirrored) -> None:
    disk = on_ext4.disks[1]
    assert isinstance(disk, LoopDisk)
    on_ext4.write("both")
    disk.fail()
    on_ext4.write(*(f"one{n}" for n in range(20)))
    assert on_ext4.states() == ["healthy", "lost"]
    # It lets itself be unmounted: the server has let go of it.
    disk.repair()
    on_ext4.wait_states("healthy", "healthy")
    on_ext4.power_cut()
    on_ext4.start_with(0, 1)
    on_ext4.check()


def test_a_disk_that_hangs(on_ext4: Mirrored) -> None:
    disk = on_ext4.disks[0]
    assert isinstance(disk, LoopDisk)
    on_ext4.write("both")
    disk.hang()
    on_ext4.write(*(f"one{n}" for n in range(20)))
    assert on_ext4.states() == ["lost", "healthy"]
    # Longer than its wait: looks at it go on while it hangs.
    on_ext4.write("later")
    assert on_ext4.server.status()["journal"]["mirrors"][0]["why"]
    disk.answer()
    on_ext4.wait_states("healthy", "healthy")
    on_ext4.power_cut()
    for path in on_ext4.dir(1).glob("*.seg"):
        path.unlink()
    on_ext4.start_with(0, 1)
    on_ext4.check()


def test_a_stale_mirror_alone_is_refused(mirrored: Mirrored) -> None:
    mirrored.write("common")
    copy = mirrored.dir(1).parent / "copy"
    shutil.copytree(mirrored.dir(1), copy)
    mirrored.server.stop()
    shutil.rmtree(copy / "lost+found", ignore_errors=True)
    mirrored.start_with(0)
    mirrored.write("only in the first")
    mirrored.power_cut()
    with pytest.raises(StartFailed, match="left behind") as refused:
        mirrored.start_with(1)
    assert str(mirrored.dir(0)) in str(refused.value)
    assert "--accept-loss" in str(refused.value)
    # With the state directory's own copy gone, database and container know.
    (mirrored.server.state / "journal.members").unlink()
    with pytest.raises(StartFailed, match="left behind"):
        mirrored.start_with(1)
    mirrored.start_with(1, accept=True)
    del mirrored.written["only in the first"]
    mirrored.check()


def test_damage_in_one_mirror_is_mended_and_in_the_only_one_refused(mirrored: Mirrored) -> None:
    mirrored.write(*(f"file{n}" for n in range(40)))
    mirrored.power_cut()
    flip_a_bit(segments(mirrored.dir(0))[0], 300_000)
    segments(mirrored.dir(0))[1].unlink()
    with segments(mirrored.dir(1))[-1].open("r+b") as file:
        file.truncate(5000)
    mirrored.start_with(0, 1)
    mirrored.check()
    assert mirrored.server.status()["journal"]["mended"]
    mirrored.wait_states("healthy", "healthy")
    mirrored.server.stop()
    mirrored.start_with(0)
    mirrored.power_cut()
    flip_a_bit(segments(mirrored.dir(0))[1], 2_000_000)
    with pytest.raises(StartFailed, match=r"damaged.*lost"):
        mirrored.start_with(0)
    mirrored.start_with(0, accept=True)
    with mirrored.server.connect() as client:
        assert client.read_file("/file0") == mirrored.written["file0"]


def test_death_during_a_rebuild(mirrored: Mirrored) -> None:
    mirrored.write(*(f"first{n}" for n in range(20)))
    mirrored.server.stop()
    for path in mirrored.dir(1).iterdir():
        path.unlink()
    killed = mirrored.server.state / "run/log/supervisor.log"
    with contextlib.suppress(StartFailed):
        mirrored.server.start(failpoints="journal.rebuild_joined=kill@1")
    wait_until(lambda: '"status": -9' in killed.read_text(), "a death", 30)
    mirrored.power_cut()
    # The half rebuilt one alone is nothing to start from.
    with pytest.raises(StartFailed, match=r"left behind|empty"):
        mirrored.start_with(1)
    mirrored.start_with(0, 1)
    mirrored.wait_states("healthy", "healthy")
    mirrored.check()
