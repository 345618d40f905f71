"""Limits on directories through a real server: at the byte, for several clients, through renames and crashes."""

import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.control import socket_address
from tests.support.caudal import Caudal, undisturbed
from tests.support.nfs3 import Nfs3
from tests.support.processes import wait_until

MIB = 1 << 20
# What libnfs makes of NFS3ERR_DQUOT, which it has no word for; kernel clients say EDQUOT: tests/kernel/test_quotas.py.
UNNAMED = (errno.EFAULT, errno.ERANGE)
FLAGS = os.O_CREAT | os.O_RDWR


@pytest.fixture(scope="module")
def server(private_network: None, module_disk_path: Path) -> Iterator[Caudal]:
    with undisturbed(module_disk_path) as make:
        yield make(admin=True).start()


@pytest.fixture
def nfs(server: Caudal) -> Iterator[Nfs3]:
    with server.connect() as client:
        yield client


def quota(server: Caudal, *arguments: str) -> Any:
    """`caudal quota …` with its answer."""
    return json.loads(server.cli("quota", *arguments, "--json"))


def rest(server: Caudal, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
    """One request by the service's local socket."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with socket_address(server.state / "run/admin.sock") as address:
        transport = httpx.HTTPTransport(uds=address)
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=30) as client:
            answer = client.request(method, f"/v1/{path}", json=body, headers=named)
    assert answer.is_success, answer.text
    return answer


def show(server: Caudal, path: str) -> Any:
    return rest(server, "GET", f"quotas?path=/data/{path}").json()["items"][0]


def limit(server: Caudal, path: str, **limits: int | None) -> Any:
    """Sets the limits of a directory that has none."""
    return rest(server, "POST", "quotas", {"path": f"/data/{path}", **limits}).json()


def tree(server: Caudal, path: str) -> Any:
    return rest(server, "GET", f"tree?path=/data/{path}").json()


def used(server: Caudal, path: str) -> tuple[int, int]:
    found = show(server, path)
    return found["used_bytes"], found["used_inodes"]


def fails(code: int, operation: Any, *arguments: Any) -> None:
    found = 0
    try:
        operation(*arguments)
    except OSError as error:
        found = errno.EDQUOT if error.errno in UNNAMED else error.errno or -1
    assert found == code


def test_the_command_line(server: Caudal, nfs: Nfs3) -> None:
    nfs.mkdir("/cli")
    made = quota(server, "set", "/data/cli", "--bytes", "1MiB", "--soft-bytes", "512KiB", "--grace", "2d")
    assert (made["path"], made["hard_bytes"], made["soft_bytes"]) == ("/data/cli", MIB, MIB // 2)
    assert (made["grace_s"], made["used_bytes"], made["hard_inodes"]) == (172800, 0, None)
    changed = quota(server, "set", "/data/cli", "--inodes", "7", "--soft-bytes", "none")
    assert (changed["hard_bytes"], changed["soft_bytes"], changed["hard_inodes"]) == (MIB, None, 7)
    assert [one["path"] for one in quota(server, "list")] == ["/data/cli"]
    shown = server.cli("quota", "list")
    assert "/data/cli" in shown
    assert "0B of 1MiB" in shown
    for arguments, words in (
        (("set", "/data/nowhere", "--bytes", "1M"), "there is no /data/nowhere"),
        (("set", "/elsewhere", "--bytes", "1M"), "is in no export"),
        (("set", "/data/cli"), "no limit is named"),
        (("set", "/data/cli", "--bytes", "many"), "is not a size"),
        (("set", "/data/cli", "--soft-inodes", "8"), "above the hard one"),
        (("show", "/data"), "has no limits"),
    ):
        done = server.run("quota", *arguments, "--state", str(server.state))
        assert done.returncode != 0
        assert words in " ".join((done.stdout + done.stderr).split()), done.stderr
    server.cli("quota", "remove", "/data/cli")
    assert quota(server, "list") == []


def test_a_limit_holds_at_the_byte(server: Caudal, nfs: Nfs3) -> None:
    nfs.mkdir("/exact")
    limit(server, "exact", hard_bytes=MIB)
    with nfs.open("/exact/a", FLAGS) as file:
        file.pwrite(b"a" * (MIB - 7), 0)
        fails(errno.EDQUOT, file.pwrite, b"b" * 8, MIB - 7)
        assert file.stat().size == MIB - 7
        file.pwrite(b"b" * 7, MIB - 7)
        assert used(server, "exact") == (MIB, 1)
        fails(errno.EDQUOT, file.pwrite, b"c", MIB)
        # What is there already may be written again, and a hole takes nothing.
        file.pwrite(b"d" * 4096, 100)
        file.truncate(16 * MIB)
        fails(errno.EDQUOT, file.pwrite, b"e", 8 * MIB)
        space = nfs.space("/exact")
        assert (space.total_bytes, space.free_bytes) == (MIB, 0)
        assert nfs.space("/").free_bytes > MIB
        file.truncate(MIB // 2)
        assert nfs.space("/exact").free_bytes == MIB // 2
        assert nfs.space("/exact/a").free_bytes == MIB // 2
    server.flush()
    assert used(server, "exact") == (MIB // 2, 1)
    nfs.unlink("/exact/a")
    assert used(server, "exact") == (0, 0)


def test_what_is_there_already_counts_and_may_be_more_than_the_limit(server: Caudal, nfs: Nfs3) -> None:
    nfs.mkdir("/old")
    nfs.mkdir("/old/inner")
    nfs.write_file("/old/inner/flushed", b"x" * 5001)
    server.flush()
    nfs.write_file("/old/inner/fresh", b"x" * 4096)
    made = limit(server, "old", hard_bytes=8192, hard_inodes=4)
    assert (made["used_bytes"], made["used_inodes"]) == (9097, 3)
    with nfs.open("/old/inner/fresh", FLAGS) as file:
        fails(errno.EDQUOT, file.pwrite, b"y", 4096)
        file.pwrite(b"y" * 4096, 0)
    nfs.write_file("/old/empty", b"")
    fails(errno.EDQUOT, nfs.mkdir, "/old/fifth")
    fails(errno.EDQUOT, nfs.symlink, "x", "/old/fifth")
    inner = limit(server, "old/inner", hard_bytes=MIB)
    assert (inner["used_bytes"], inner["used_inodes"]) == (9097, 2)
    nfs.unlink("/old/inner/flushed")
    assert (used(server, "old"), used(server, "old/inner")) == ((4096, 3), (4096, 1))
    space = nfs.space("/old/inner")
    assert (space.total_bytes, space.free_bytes) == (8192, 4096), "the outer limit is the tighter one"
    assert (space.total_files, space.free_files) == (4, 1)


def test_files_take_their_charge_along(server: Caudal, nfs: Nfs3) -> None:
    for tree in ("/from", "/to", "/from/directory"):
        nfs.mkdir(tree)
    limit(server, "from", hard_bytes=MIB)
    limit(server, "to", hard_bytes=5000)
    nfs.write_file("/from/file", b"x" * 4000)
    nfs.write_file("/from/second", b"x" * 2000)
    nfs.rename("/from/file", "/to/file")
    assert (used(server, "from"), used(server, "to")) == ((2000, 2), (4000, 1))
    fails(errno.EDQUOT, nfs.rename, "/from/second", "/to/second")
    fails(errno.EXDEV, nfs.rename, "/from/directory", "/to/directory")
    fails(errno.EXDEV, nfs.link, "/from/second", "/to/second")
    assert (used(server, "from"), used(server, "to")) == ((2000, 2), (4000, 1))
    nfs.rename("/to/file", "/outside")
    assert used(server, "to") == (0, 0)
    nfs.rename("/from/second", "/to/second")
    assert (used(server, "from"), used(server, "to")) == ((0, 1), (2000, 1))


def test_clients_at_once_fill_a_tree_just_to_the_limit(server: Caudal, nfs: Nfs3) -> None:
    nfs.mkdir("/crowd")
    most = 400_001
    limit(server, "crowd", hard_bytes=most)
    written, codes = [0, 0, 0], set[int | None]()

    def fill(number: int) -> None:
        with server.connect() as mine, mine.open(f"/crowd/{number}", FLAGS) as file:
            step = 4096
            while step:
                try:
                    file.pwrite(b"x" * step, written[number])
                    written[number] += step
                except OSError as error:
                    codes.add(error.errno)
                    step //= 2

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(len(written))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes <= set(UNNAMED)
    assert sum(written) == most
    assert used(server, "crowd") == (most, len(written))


def test_soft_limits_turn_hard_when_their_grace_has_passed(server: Caudal, nfs: Nfs3) -> None:
    nfs.mkdir("/soft")
    made = limit(server, "soft", soft_bytes=1000, grace_s=0)
    with nfs.open("/soft/file", FLAGS) as file:
        file.pwrite(b"x" * 1500, 0)
        fails(errno.EDQUOT, file.pwrite, b"x", 1500)
        assert show(server, "soft")["bytes_grace_ends_s"] is not None
        where = f"quotas/{made['id']}"
        etag = rest(server, "GET", where).headers["etag"]
        rest(server, "PATCH", where, {"grace_s": 3600}, If_Match=etag)
        file.pwrite(b"x", 1500)
        file.truncate(1000)
        assert show(server, "soft")["bytes_grace_ends_s"] is None


def test_trees_and_owners_are_summed(server: Caudal, nfs: Nfs3) -> None:
    nfs.mkdir("/sums")
    nfs.mkdir("/sums/deep")
    nfs.mkdir("/sums/deep/deeper")
    nfs.write_file("/sums/deep/deeper/file", b"x" * 10_000)
    nfs.write_file("/sums/other", b"x" * 24)
    nfs.chown("/sums/deep/deeper/file", 4711, 4712)
    nfs.truncate("/sums/other", 1_000_000)
    server.flush()
    found = quota(server, "tree", "/data/sums")
    assert found == tree(server, "sums")
    assert (found["files"], found["directories"], found["bytes"], found["allocated_bytes"]) == (
        *(2, 2),
        *(1_010_000, 10_024),
    )
    entries = {entry["name"]: entry for entry in found["items"]}
    assert (entries["deep"]["files"], entries["deep"]["directories"], entries["deep"]["bytes"]) == (
        1,
        1,
        10_000,
    )
    nfs.rename("/sums/deep/deeper", "/sums/deeper")
    entries = {entry["name"]: entry for entry in tree(server, "sums")["items"]}
    assert (entries["deep"]["files"], entries["deep"]["bytes"]) == (0, 0)
    assert (entries["deeper"]["files"], entries["deeper"]["bytes"]) == (1, 10_000)

    def owned(by: str, number: int) -> list[Any]:
        return [one for one in rest(server, "GET", f"usage/{by}s").json()["items"] if one["id"] == number]

    wait_until(lambda: bool(owned("user", 4711)), "the checkpoint")
    mine = owned("user", 4711)[0]
    assert (mine["inodes"], mine["bytes"], mine["allocated_bytes"]) == (1, 10_000, 10_000)
    assert owned("group", 4712)[0]["bytes"] == 10_000
    assert [one for one in quota(server, "usage", "--by", "group") if one["id"] == 4712]


def test_after_a_crash_everything_counts_as_before(server: Caudal, nfs: Nfs3) -> None:
    nfs.mkdir("/crash")
    nfs.mkdir("/crash/inner")
    limit(server, "crash", hard_bytes=100_000, soft_inodes=2)
    limit(server, "crash/inner", hard_bytes=50_000)
    nfs.write_file("/crash/flushed", b"x" * 20_000)
    server.flush()
    nfs.write_file("/crash/inner/fresh", b"x" * 30_000)
    nfs.truncate("/crash/flushed", 15_000)
    before = {path: used(server, path) for path in ("crash", "crash/inner")}
    assert before == {"crash": (45_000, 3), "crash/inner": (30_000, 1)}
    server.kill_everything()
    server.start()
    assert {path: used(server, path) for path in before} == before
    with server.connect() as again:
        with again.open("/crash/inner/fresh", FLAGS) as file:
            fails(errno.EDQUOT, file.pwrite, b"y" * 20_001, 30_000)
            file.pwrite(b"y" * 20_000, 30_000)
        with again.open("/crash/flushed", FLAGS) as file:
            fails(errno.EDQUOT, file.pwrite, b"y" * 35_001, 15_000)
            file.pwrite(b"y" * 35_000, 15_000)
        fails(errno.EXDEV, again.link, "/crash/flushed", "/crash/inner/link")
    assert show(server, "crash")["inodes_grace_ends_s"] is not None
    assert "clean" in server.fsck()
    figures = server.cli("metrics")
    assert "caudal_quotas_over_soft 1.0" in figures
