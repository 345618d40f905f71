"""Starting and stopping for real: the supervisor with Ganesha and a file system in memory."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway import config, launch, rpc
from gateway.config import Config
from gateway.control import ControlClient
from gateway.errors import CaudalError, Reason, StartError
from gateway.preflight import find_plugins
from gateway.state import Identity, StateDir
from tests.ganesha.standin import fsal_for
from tests.support.processes import ROOT, alive, free_port, wait_until

pytestmark = pytest.mark.usefixtures("private_network")
FS_ID = b"0123456789abcdef"
PROCESSES = ("supervisor", "ganesha", "steward")


class Starter:
    """One state directory, started detached with the stand-in."""

    def __init__(self, root: Path, **flags: object) -> None:
        self.state = StateDir(root)
        flags = {"nfs_port": free_port(), "mountd_port": free_port(), "l2_bytes": 0, "admin_port": 0, **flags}
        self.flags: dict[str, object] = {"state": str(root), "clients": "127.0.0.1,::1", **flags}

    @property
    def config(self) -> Config:
        return config.load(flags=self.flags)

    def up(self, env: Mapping[str, str] | None = None) -> Any:
        launcher = launch.Launcher(
            self.config, {**os.environ, **(env or {})}, lambda: FS_ID, fsal_for, "tests.ganesha.standin"
        )
        return launcher.detached()

    def refused(self, env: Mapping[str, str] | None = None) -> StartError:
        with pytest.raises(StartError) as caught:
            self.up(env)
        return caught.value

    def wish(self, **fields: object) -> None:
        self.state.root.mkdir(exist_ok=True)
        (self.state.root / "standin.json").write_text(json.dumps(fields))

    def pid(self, name: str) -> int:
        return int(self.state.pid_file(name).read_text())

    def nothing_runs(self) -> bool:
        return not self.state.is_locked() and not rpc_answers(self.config.nfs_port)


def rpc_answers(port: int) -> bool:
    try:
        rpc.null_call("127.0.0.1", port, rpc.NFS, 4)
    except rpc.RpcError:
        return False
    return True


@pytest.fixture
def starter(disk_path: Path) -> Iterator[Callable[..., Starter]]:
    made: list[Starter] = []

    def make(name: str = "state", **flags: object) -> Starter:
        made.append(Starter(disk_path / name, **flags))
        return made[-1]

    yield make
    for one in made:
        launch.down(one.state, flush=False)


def test_up_returns_when_it_serves_and_down_when_all_has_stopped(starter: Callable[..., Starter]) -> None:
    one = starter()
    served = one.up()
    assert served.versions == ["3", "4.0", "4.1", "4.2"]
    assert served.note == ""
    for version in (3, 4):
        rpc.null_call("127.0.0.1", one.config.nfs_port, rpc.NFS, version)
    rpc.null_call("::1", one.config.nfs_port, rpc.NFS, 4)
    with ControlClient(one.state.control_socket) as client:
        assert client.call("ping") == "pong"
    assert json.loads(one.state.nfs_file.read_text())["pid"] == one.pid("ganesha")
    assert one.state.read_identity() == Identity(FS_ID, started=True)
    pids = [one.pid(name) for name in PROCESSES]
    assert os.getsid(pids[0]) == pids[0]
    threads = [int(path.name) for pid in pids[1:] for path in Path(f"/proc/{pid}/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}

    assert launch.down(one.state, flush=True)
    assert not any(alive(pid) for pid in pids)
    assert (one.state.root / "closed").exists(), "the file system was closed in order"
    assert not list(one.state.run.glob("*.pid"))
    assert not launch.down(one.state, flush=False)


def test_in_the_foreground_until_it_is_told_to_stop(starter: Callable[..., Starter]) -> None:
    one = starter()
    script = (
        "from tests.ganesha.test_up import *;"
        f"one = Starter(Path({str(one.state.root)!r}), nfs_port={one.config.nfs_port},"
        f" mountd_port={one.config.mountd_port});"
        "from gateway import log; log.configure('info');"
        "launcher = launch.Launcher(one.config, os.environ, lambda: FS_ID, fsal_for);"
        "launcher.foreground(lambda served: print('serving', served.pid, flush=True)); print('stopped')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"serving {one.pid('ganesha')}\n"
        assert one.pid("supervisor") == process.pid
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "stopped\n"
        assert process.wait(30) == 0
    assert one.nothing_runs()


def test_clients_that_nobody_knows_are_told(starter: Callable[..., Starter]) -> None:
    served = starter(clients="nowhere.invalid,127.0.0.1,*.x.org,@group,fd00::/8,localhost").up()
    assert served.note == "no access for clients whose names do not resolve: nowhere.invalid"


def test_a_second_up_is_refused_and_disturbs_nothing(starter: Callable[..., Starter]) -> None:
    one = starter()
    one.up()
    found = one.refused()
    assert found.reason is Reason.STATE_IN_USE
    assert str(one.pid("supervisor")) in found.message
    assert rpc_answers(one.config.nfs_port)
    assert one.state.config_file.exists()


def test_two_servers_run_side_by_side(starter: Callable[..., Starter]) -> None:
    first, second = starter("one"), starter("two")
    first.up()
    second.up()
    launch.down(first.state, flush=False)
    assert rpc_answers(second.config.nfs_port)
    assert rpc.registrations(), "rpcbind stays for the second"


def test_a_killed_server_comes_back_with_a_new_epoch_of_its_own(starter: Callable[..., Starter]) -> None:
    one = starter()
    one.up()
    before = [int((one.state.ganesha / "server-epoch").read_text())]
    for _ in range(2):
        old = one.pid("ganesha")
        os.kill(old, signal.SIGKILL)
        wait_until(
            lambda old=old: one.state.pid_file("ganesha").exists() and one.pid("ganesha") != old, "restart"
        )
        wait_until(lambda: rpc_answers(one.config.nfs_port), "NFS answers again")
        before.append(int((one.state.ganesha / "server-epoch").read_text()))
    assert before == sorted(set(before))
    wait_until(
        lambda: json.loads(one.state.nfs_file.read_text())["pid"] == one.pid("ganesha"), "nfs.json is right"
    )


def test_a_dead_supervisor_takes_the_others_along(starter: Callable[..., Starter]) -> None:
    one = starter()
    one.up()
    pids = [one.pid(name) for name in PROCESSES]
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in pids), "all ended")
    assert one.state.wait_unlocked(5)
    assert one.up().pid


def test_up_keeps_no_descriptor_of_its_caller_open(starter: Callable[..., Starter]) -> None:
    one = starter()
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    script = (
        "import os, sys; from tests.ganesha.test_up import Starter; from pathlib import Path;"
        f"one = Starter(Path({str(one.state.root)!r}), nfs_port={one.config.nfs_port},"
        f" mountd_port={one.config.mountd_port}); print(one.up().pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        pass_fds=[write_end],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    assert int(done.stdout) == one.pid("ganesha")
    os.close(write_end)
    os.set_blocking(read_end, False)
    # End of file, and not "would block": nobody has the other end.
    assert os.read(read_end, 1) == b""
    os.close(read_end)


@pytest.mark.parametrize("key", ["nfs_port", "mountd_port", "admin_port"])
def test_a_taken_port_is_named_with_its_holder(starter: Callable[..., Starter], key: str) -> None:
    one = starter()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        one.flags[key] = holder.getsockname()[1]
        found = one.refused()
    assert found.reason is Reason.PORT_TAKEN
    assert f"({key}) is taken by" in found.message
    assert f"process {os.getpid()}" in found.message
    assert not one.state.root.exists(), "nothing is left behind"


def test_reasons_known_beforehand_leave_nothing_behind(
    starter: Callable[..., Starter], disk_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: list[tuple[dict[str, object], Reason]] = [
        ({"store": "az://box"}, Reason.STORE_REFUSED),
        ({"segment_bytes": "1GiB", "journal": [f"/dev/shm/{disk_path.name}"]}, Reason.NO_SPACE),
        ({"state": "/proc/caudal"}, Reason.STATE_UNUSABLE),
        (
            {"admin_port": free_port(), "admin_certificate": __file__, "admin_certificate_key": __file__},
            Reason.KEY_UNUSABLE,
        ),
        ({"l2_dir": "/dev/null/l2", "l2_bytes": "1GiB"}, Reason.STATE_UNUSABLE),
        ({"store": "file:///dev/null/x"}, Reason.STORE_UNREACHABLE),
    ]
    real = os.statvfs

    def small_shm(path: str) -> os.statvfs_result:
        found = real(path)
        return os.statvfs_result((*found[:4], 10, *found[5:])) if str(path).startswith("/dev/shm") else found

    monkeypatch.setattr(os, "statvfs", small_shm)
    for number, (flags, reason) in enumerate(cases):
        one = starter(f"state{number}", **flags)
        found = one.refused({"AZURE_STORAGE_CONNECTION_STRING": ""})
        assert found.reason is reason, found.message
        assert found.hint
        assert not (disk_path / f"state{number}").exists()
    assert not Path(f"/dev/shm/{disk_path.name}").exists()


def test_ganesha_or_its_plugin_missing(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = starter()
    monkeypatch.setattr("shutil.which", lambda *_args, **_more: None)
    found = one.refused()
    assert found.reason is Reason.GANESHA_MISSING
    assert "apt-get install nfs-ganesha" in found.hint
    monkeypatch.undo()
    monkeypatch.setattr("gateway.preflight.__file__", str(tmp_path / "preflight.py"))
    with pytest.raises(StartError) as caught:
        find_plugins()
    assert caught.value.reason is Reason.FSAL_MISSING
    assert not one.state.root.exists()


def test_a_store_of_another_file_system_is_not_touched(
    starter: Callable[..., Starter], disk_path: Path
) -> None:
    store = f"file://{disk_path}/box"
    first = starter("one", store=store)
    first.up()
    launch.down(first.state, flush=False)
    root = (disk_path / "box/caudal/root.json").read_bytes()
    second = starter("two", store=store)
    found = second.refused()
    assert found.reason is Reason.STORE_FOREIGN
    assert "already holds a file system" in found.message
    assert not second.state.root.exists()
    # And a state directory that lost its store does not begin anew in another.
    found = starter("one", store=f"file://{disk_path}/empty").refused()
    assert found.reason is Reason.STORE_FOREIGN
    assert not (disk_path / "empty").exists()
    assert (disk_path / "box/caudal/root.json").read_bytes() == root


def test_a_newer_format_is_refused(starter: Callable[..., Starter]) -> None:
    one = starter()
    one.state.root.mkdir()
    one.state.identity_file.write_text('{"format": 2}')
    assert one.refused().reason is Reason.NEWER_FORMAT
    assert [path.name for path in one.state.root.iterdir()] == ["fs.json"]


def test_a_reason_from_inside_the_server_is_told(starter: Callable[..., Starter]) -> None:
    one = starter()
    one.wish(error="the journal's disk is full")
    found = one.refused()
    assert (found.message, found.hint, found.reason) == (
        "the journal's disk is full",
        "do this",
        Reason.NO_SPACE,
    )
    assert one.nothing_runs()
    assert [path.name for path in one.state.root.iterdir()] == ["standin.json"], "nothing else is left behind"


@pytest.mark.parametrize(
    ("wish", "words"),
    [({"raise": "a strange thing"}, "a strange thing"), ({"exit": 7}, "ended with 7 while it started")],
)
def test_a_server_that_fails_in_another_way_is_told_too(
    starter: Callable[..., Starter], wish: dict[str, object], words: str
) -> None:
    one = starter()
    one.wish(**wish)
    found = one.refused()
    assert words in found.message
    assert "ganesha.log" in found.hint
    assert one.nothing_runs()
    assert (one.state.logs / "ganesha.log").exists(), "what nobody foresaw can be read up"


def test_a_server_that_never_answers_times_out(starter: Callable[..., Starter]) -> None:
    one = starter(start_timeout_s=3)
    one.wish(mute=True)
    began_s = time.monotonic()
    found = one.refused()
    assert found.reason is Reason.TIMED_OUT
    assert time.monotonic() - began_s < 15
    assert one.nothing_runs()


def test_down_says_when_a_server_does_not_stop(starter: Callable[..., Starter]) -> None:
    one = starter()
    one.up()
    os.kill(one.pid("supervisor"), signal.SIGSTOP)
    try:
        with pytest.raises(CaudalError, match="still stopping"):
            launch.down(one.state, flush=False, timeout_s=0.3)
    finally:
        os.kill(one.pid("supervisor"), signal.SIGCONT)
    assert one.state.wait_unlocked(30)


def test_without_rpcbind_nfs_4_alone_is_served(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's rpcbind cannot be taken away, but the supervisor can be told of a place where none is."""
    one = starter()
    monkeypatch.setenv("CAUDAL_TEST_NO_RPCBIND", "1")
    served = one.up({"CAUDAL_TEST_NO_RPCBIND": "1"})
    assert served.versions == ["4.0", "4.1", "4.2"]
    assert "NFS 3 is off: rpcbind is not installed" in served.note
    assert dataclasses.asdict(served)["note"] == json.loads(one.state.nfs_file.read_text())["note"]
    assert rpc_answers(one.config.nfs_port)


def test_a_full_disk_does_not_end_the_supervisor(starter: Callable[..., Starter], disk_path: Path) -> None:
    """It starts the killed server again as soon as there is room."""
    mount = disk_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(mount)], check=True)
    try:
        one = starter("small/state", segment_bytes="4MiB", journal_limit_bytes="16MiB")
        one.up()
        old = one.pid("ganesha")
        with pytest.raises(OSError, match="No space"):
            (mount / "ballast").write_bytes(bytes(64 << 20))
        supervisor = one.pid("supervisor")
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: not alive(old), "the server is gone")
        time.sleep(1)
        assert alive(supervisor)
        (mount / "ballast").unlink()
        wait_until(lambda: rpc_answers(one.config.nfs_port), "NFS answers again", timeout_s=40)
        launch.down(one.state, flush=False)
    finally:
        subprocess.run(["umount", str(mount)], check=True)
