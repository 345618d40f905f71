"""How Caudal behaves as load and hardware grow: python -m bench.scaling [--only clients,cores,…] [--dry]

clients  4 KiB random reads, warm, from 1 to 64 connections of 4 requests each, beside the stock server
cores    the server on one processor and on two, the load on both, beside the stock server
mixed    latency of warm 4 KiB reads alone and under a full streaming write load, likewise; with and without
         server and reader before everybody else on the processors
listing  `ls -l` of 50,000 files at a kernel client, the servers just started, likewise
cold     a sequential read of packs in Azurite, caches dropped, beside curl that fetches the same blobs by ranged GETs

Servers run in a private network (needs root; `cold` needs curl). Figures go into bench/results/scaling-DATE.json and
docs/performance-scaling.md. Nothing is asserted here.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from azure.storage.blob import BlobSasPermissions, ContainerClient, generate_blob_sas

from bench import compare, scaling_page
from bench.profile import cpu_s
from bench.record import machine, save
from tests.support import netns, uml
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.caudal import EXPORT, Caudal
from tests.support.fault_proxy import Delay, FaultProxy
from tests.support.nfs3 import Nfs3
from tests.support.processes import ROOT
from tests.support.stock import StockGanesha

PAGE = ROOT / "docs/performance-scaling.md"
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
GET_BYTES = 4 << 20
FAR_S = 0.08
READS = ("conns=1", "size=64M", "bs=4K", "depth=4", "secs=4")
FIRST = ("chrt", "-f", "20")
AHEAD_MIB = 32
"""What is the default where L1 has 2 GiB or more."""
COLD_BYTES = 256 << 20
LISTED = 50_000
LISTED_BY = ("3", "4.2")
Figures = dict[str, Any]


def bench(server: Caudal | StockGanesha, mode: str, *keys: str, before: Sequence[str] = ()) -> Figures:
    """One run of nfsbench; `keys` are its own, and hold over the mode's. before: a command that runs it."""
    command = [*before, compare.binary(), server.url, mode, "dir=scaling", *keys]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout)


@contextmanager
def both(directory: Path, name: str) -> Iterator[dict[str, Caudal | StockGanesha]]:
    """Caudal and the stock server on the same disk, both up at once; the load goes to one at a time."""
    server = Caudal(directory / name)
    with StockGanesha(directory / f"{name}-export", directory / f"{name}-stock") as stock:
        try:
            yield {"Caudal": server.start(), "stock": stock}
        finally:
            server.stop()


def median_of(runs: list[Figures], *keys: str) -> Figures:
    return {key: statistics.median(run[key] for run in runs) for key in keys}


def clients(directory: Path, rounds: int) -> Figures:
    """Server → connections → operations a second and p99 in microseconds."""
    with both(directory, "clients") as servers:
        most = max(CLIENTS)
        runs: dict[str, dict[int, list[Figures]]] = {name: {n: [] for n in CLIENTS} for name in servers}
        for server in servers.values():
            bench(server, "write", f"conns={most}", "size=4M", "bs=1M", "depth=2")
            bench(server, "randread", f"conns={most}", "size=4M", "bs=4K", "depth=4", "secs=2")
        for _ in range(rounds):
            for count in CLIENTS:
                keys = (f"conns={count}", "size=4M", "bs=4K", "depth=4", "secs=3")
                for name, server in servers.items():
                    runs[name][count].append(bench(server, "randread", *keys))
        return {
            name: {str(count): median_of(each, "ops_s", "p99_us") for count, each in counts.items()}
            for name, counts in runs.items()
        }


def cores(directory: Path, rounds: int) -> Figures:
    """Server → mode → operations a second on one processor and on two, taken in turn."""
    loads = {
        "randread": ("size=64M", "bs=4K", "depth=16", "secs=3"),
        "randread128k": ("size=64M", "bs=128K", "depth=8", "secs=3"),
        "create": ("files=2000", "depth=16"),
    }
    with both(directory, "cores") as servers:
        runs: dict[str, dict[str, dict[str, list[Figures]]]] = {
            name: {mode: {"1": [], "2": []} for mode in loads} for name in servers
        }
        for server in servers.values():
            bench(server, "write", "size=64M", "bs=1M")
        for number in range(rounds):
            for count in ("1", "2"):
                for name, server in servers.items():
                    pin(server, "0" if count == "1" else "0,1")
                    for mode, keys in loads.items():
                        command = "randread" if mode.startswith("randread") else mode
                        place = f"dir=cores{number}{count}" if mode == "create" else "dir=scaling"
                        runs[name][mode][count].append(bench(server, command, *keys, place))
        return {
            name: {
                mode: [median_of(each[count], "ops_s")["ops_s"] for count in ("1", "2")]
                for mode, each in modes.items()
            }
            for name, modes in runs.items()
        }


def pin(server: Caudal | StockGanesha, processors: str) -> None:
    """Every thread of the server's processes may use these processors only."""
    if isinstance(server, StockGanesha):
        pids = [server.pid]
    else:
        pids = [server.pid(name) for name in ("ganesha", "steward")]
    for pid in filter(None, pids):
        subprocess.run(["taskset", "-a", "-p", "-c", processors, str(pid)], check=True, capture_output=True)


def mixed(directory: Path, rounds: int) -> Figures:
    """Server → latency of warm 4 KiB reads, alone and while others write as fast as they are let.

    Then the same where server and reader get a processor whenever they want one, before the writer and everybody else: what
    the reads wait for in the server, without what they wait for processors.
    """
    with both(directory, "mixed") as servers:
        runs: dict[str, dict[str, list[Figures]]] = {name: {} for name in servers}
        for server in servers.values():
            bench(server, "write", "conns=1", "size=64M", "bs=1M")
            bench(server, "randread", *READS)
        settle(servers)
        for first in (False, True):
            if first:
                for server in servers.values():
                    put_first(server)
            for number in range(rounds):
                for name, server in servers.items():
                    alone, under = read_beside_writes(
                        server, f"w{int(first)}{number}", FIRST if first else ()
                    )
                    suffix = ", processors first" if first else ""
                    runs[name].setdefault(f"alone{suffix}", []).append(alone)
                    runs[name].setdefault(f"under writes{suffix}", []).append(under)
                    settle(servers)
        return {
            name: {
                how: median_of(each, "ops_s", "p50_us", "p99_us", "written_MB_s")
                for how, each in hows.items()
            }
            for name, hows in runs.items()
        }


def read_beside_writes(
    server: Caudal | StockGanesha, place: str, before: Sequence[str]
) -> tuple[Figures, Figures]:
    """Reads alone, and beside a writer to a directory of its own, which ends with them."""
    alone = {**bench(server, "randread", *READS, before=before), "written_MB_s": 0.0}
    load = ["write", f"dir={place}", "size=16G", "bs=1M", "depth=8"]
    writer = subprocess.Popen([compare.binary(), server.url, *load], stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        with closing(Nfs3(server.nfs_port, urlsplit(server.url).path, mountd_port=server.mountd_port)) as nfs:
            begin = nfs.stat(f"/{place}/big0").size
            under = bench(server, "randread", *READS, before=before)
            written = nfs.stat(f"/{place}/big0").size - begin
    finally:
        writer.kill()
        writer.wait()
    return alone, {**under, "written_MB_s": written / under["secs"] / 1e6}


def put_first(server: Caudal | StockGanesha) -> None:
    """From now on the server's threads run before all others but the reader's."""
    pid = server.pid if isinstance(server, StockGanesha) else server.pid("ganesha")
    subprocess.run(["chrt", "-a", "-r", "-p", "5", str(pid)], check=True)


def settle(servers: dict[str, Caudal | StockGanesha]) -> None:
    """What was written so far does not disturb what follows."""
    for server in servers.values():
        if isinstance(server, Caudal):
            server.flush()
    os.sync()


def listing(directory: Path, rounds: int) -> Figures:
    """Server → NFS version → seconds of `ls -l`: cold, the server's CPU in it, and with the client's cache alone dropped."""
    with both(directory, "listing") as servers, uml.Client(memory_mib=1024) as client:
        runs: dict[str, dict[str, list[Figures]]] = {name: {} for name in servers}
        for server in servers.values():
            bench(server, "create", "conns=1", f"files={LISTED}")
        for _ in range(rounds):
            for version in LISTED_BY:
                for name, server in servers.items():
                    settle(servers)
                    server.stop()
                    server.start()
                    runs[name].setdefault(version, []).append(listed(server, client, version))
        return {
            name: {version: median_of(each, *each[0]) for version, each in versions.items()}
            for name, versions in runs.items()
        }


def listed(server: Caudal | StockGanesha, client: uml.Client, version: str) -> Figures:
    drop = "echo 3 >/proc/sys/vm/drop_caches"
    client.run(drop)
    pid = server.pid if isinstance(server, StockGanesha) else server.pid("ganesha")
    assert pid, "the server does not run"
    with client.mounted(version, server.nfs_port, EXPORT, mountd_port=server.mountd_port) as point:
        command = f"ls -l {point}/scaling/c0 | wc -l | grep -qx {LISTED + 1}"
        before_s, began_s = cpu_s(pid), time.monotonic()
        client.run(command, 300)
        cold_s, server_s = time.monotonic() - began_s, cpu_s(pid) - before_s
        client.run(drop)
        began_s = time.monotonic()
        client.run(command, 300)
        return {"cold_s": cold_s, "server_cpu_s": server_s, "client_s": time.monotonic() - began_s}


def cold(directory: Path, rounds: int) -> Figures:
    """MB/s of a cold sequential read through NFS, of curl with 1 to 8 ranged GETs at once, and from a store far away."""
    with Azurite(directory / "azurite.log", directory / "blobs") as azurite:
        ahead = ("--readahead-bytes", f"{AHEAD_MIB}MiB")
        server = Caudal(directory / "cold", store="az://cold", env=azurite.environment, options=ahead)
        try:
            server.start()
            bench(server, "write", "conns=1", f"size={COLD_BYTES}", "bs=1M")
            server.flush()
            ranges = blob_ranges(azurite)
            found: dict[str, list[float]] = {"caudal": [], **{f"curl {count}": [] for count in (1, 2, 4, 8)}}
            for _ in range(rounds):
                server.cli("cache", "drop")
                found["caudal"].append(
                    bench(server, "read", "conns=1", f"size={COLD_BYTES}", "bs=1M", "depth=8")["MB_s"]
                )
                for count in (1, 2, 4, 8):
                    found[f"curl {count}"].append(curl(directory, ranges, count))
        finally:
            server.stop()
        for ahead_mib in (8, AHEAD_MIB):
            found[f"caudal, {FAR_S * 1000:.0f} ms away, {ahead_mib} MiB ahead"] = far(
                directory, azurite, ahead_mib, rounds
            )
        return {name: statistics.median(runs) for name, runs in found.items()}


def far(directory: Path, azurite: Azurite, ahead_mib: int, rounds: int) -> list[float]:
    """The same read where each GET takes so much longer."""
    with FaultProxy(azurite.port) as proxy, proxy.fault(Delay(FAR_S), "GET"):
        ahead = ("--readahead-bytes", f"{ahead_mib}MiB")
        server = Caudal(directory / "cold", store="az://cold", env=proxy.environment, options=ahead)
        try:
            server.start()
            found: list[float] = []
            for _ in range(rounds):
                server.cli("cache", "drop")
                found.append(
                    bench(server, "read", "conns=1", f"size={COLD_BYTES}", "bs=1M", "depth=8")["MB_s"]
                )
            return found
        finally:
            server.stop()


def blob_ranges(azurite: Azurite) -> list[tuple[str, int, int]]:
    """(URL with a signature, first byte, last byte) of all packs in pieces of a GET."""
    container = ContainerClient.from_connection_string(azurite.connection_string, "cold")
    ranges: list[tuple[str, int, int]] = []
    for blob in container.list_blobs(name_starts_with="packs/"):
        expiry = datetime.now(UTC) + timedelta(hours=1)  # noqa: TID251 - a signature's own clock
        permission = BlobSasPermissions(read=True)
        sas = generate_blob_sas(
            ACCOUNT, "cold", blob.name, account_key=KEY, permission=permission, expiry=expiry
        )
        url = f"{azurite.endpoint}/cold/{blob.name}?{sas}"
        ranges += (
            (url, begin, min(begin + GET_BYTES, blob.size) - 1) for begin in range(0, blob.size, GET_BYTES)
        )
    return ranges


def curl(directory: Path, ranges: list[tuple[str, int, int]], concurrency: int) -> float:
    """MB/s of a bare client that fetches the ranges, so many at once."""
    config = directory / "curl.conf"
    config.write_text(
        "\nnext\n".join(
            f'url = "{url}"\nrange = "{begin}-{end}"\noutput = "/dev/null"' for url, begin, end in ranges
        )
    )
    command = [
        "curl",
        "-s",
        "--no-progress-meter",
        "-f",
        "-Z",
        "--parallel-max",
        str(concurrency),
        "-K",
        str(config),
    ]
    began = time.monotonic()
    subprocess.run(command, check=True)
    return sum(end - begin + 1 for _, begin, end in ranges) / 1e6 / (time.monotonic() - began)


MEASUREMENTS: dict[str, Callable[[Path, int], Figures]] = {
    "clients": clients,
    "cores": cores,
    "mixed": mixed,
    "listing": listing,
    "cold": cold,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(MEASUREMENTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"))
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the servers run in a network of their own, which needs root")
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-scaling.", dir=given.disk))
    found: Figures = {}
    try:
        for name in given.only.split(","):
            found[name] = MEASUREMENTS[name](directory, given.rounds)
            print(name, json.dumps(found[name]), flush=True)
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    if given.dry:
        return
    path = save("scaling", "bench.scaling", about, rounds=given.rounds, ahead_mib=AHEAD_MIB, found=found)
    PAGE.write_text(scaling_page.render(json.loads(path.read_text())))
    print(f"recorded in {path.relative_to(ROOT)}, rendered into {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
