"""How Caudal behaves as load and hardware grow: python -m bench.scaling [--only clients,cores,mixed,cold] [--dry]

clients  4 KiB random reads, warm, from 1 to 64 connections of 4 requests each
cores    the server on one processor and on two, the load on both
mixed    latency of warm 4 KiB reads alone and under a full streaming write load
cold     a sequential read of packs in Azurite, caches dropped, beside curl that fetches the same blobs by ranged GETs

Servers run in a private network (needs root; `cold` needs curl). Figures go into bench/results/scaling-DATE.json and
docs/performance-scaling.md. Nothing is asserted here.
"""

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.storage.blob import BlobSasPermissions, ContainerClient, generate_blob_sas

from bench import compare
from bench.record import machine, recorded, save
from tests.support import netns
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.caudal import Caudal
from tests.support.processes import ROOT

PAGE = ROOT / "docs/performance-scaling.md"
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
GET_BYTES = 4 << 20
COLD_BYTES = 256 << 20
Figures = dict[str, Any]


def bench(server: Caudal, mode: str, *keys: str) -> Figures:
    """One run of nfsbench; `keys` are its own, and hold over the mode's."""
    command = [compare.binary(), server.url, mode, "dir=scaling", *keys]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout)


def started(directory: Path, name: str, **options: Any) -> Caudal:
    return Caudal(directory / name, **options).start()


def clients(directory: Path, rounds: int) -> Figures:
    """Connections → (operations a second, p99 in microseconds): medians of the rounds."""
    server = started(directory, "clients")
    try:
        most = max(CLIENTS)
        bench(server, "write", f"conns={most}", "size=4M", "bs=1M", "depth=2")
        bench(server, "randread", f"conns={most}", "size=4M", "bs=4K", "depth=4", "secs=2")
        found: Figures = {}
        for count in CLIENTS:
            keys = (f"conns={count}", "size=4M", "bs=4K", "depth=4", "secs=3")
            runs = [bench(server, "randread", *keys) for _ in range(rounds)]
            found[str(count)] = [
                statistics.median(run["ops_s"] for run in runs),
                statistics.median(run["p99_us"] for run in runs),
            ]
        return found
    finally:
        server.stop()


def cores(directory: Path, rounds: int) -> Figures:
    """Mode → operations a second on one processor and on two, taken in turn."""
    server = started(directory, "cores")
    loads = {
        "randread": ("size=64M", "bs=4K", "depth=16", "secs=3"),
        "randread128k": ("size=64M", "bs=128K", "depth=8", "secs=3"),
        "create": ("files=2000", "depth=16"),
    }
    try:
        bench(server, "write", "size=64M", "bs=1M")
        found: Figures = {mode: {"1": [], "2": []} for mode in loads}
        for number in range(rounds):
            for count in ("1", "2"):
                pin(server, "0" if count == "1" else "0,1")
                for mode, keys in loads.items():
                    name = "randread" if mode.startswith("randread") else mode
                    directory_key = f"dir=cores{number}{count}" if mode == "create" else "dir=scaling"
                    found[mode][count].append(bench(server, name, *keys, directory_key)["ops_s"])
        return {
            mode: [statistics.median(runs["1"]), statistics.median(runs["2"])] for mode, runs in found.items()
        }
    finally:
        server.stop()


def pin(server: Caudal, processors: str) -> None:
    """Every thread of the server's processes may use these processors only."""
    for name in ("ganesha", "steward"):
        pid = server.pid(name)
        if pid:
            command = ["taskset", "-a", "-p", "-c", processors, str(pid)]
            subprocess.run(command, check=True, capture_output=True)


def mixed(directory: Path, rounds: int) -> Figures:
    """p50 and p99 of warm 4 KiB reads in microseconds, alone and while others write as fast as they are let."""
    server = started(directory, "mixed")
    keys = ("conns=1", "size=64M", "bs=4K", "depth=4", "secs=4")
    try:
        bench(server, "write", "conns=1", "size=64M", "bs=1M")
        bench(server, "randread", *keys)
        server.flush()
        alone, under = [], []
        for number in range(rounds):
            alone.append(bench(server, "randread", *keys))
            writing = (
                f"{compare.binary()} {shlex.quote(server.url)} write dir=w{number} size=2G bs=1M depth=8"
            )
            writer = subprocess.Popen(shlex.split(writing), stdout=subprocess.DEVNULL)
            time.sleep(0.5)
            under.append(bench(server, "randread", *keys))
            writer.kill()
            writer.wait()
            server.flush()
        pick: Callable[[list[Figures], str], float] = lambda runs, key: statistics.median(  # noqa: E731
            run[key] for run in runs
        )
        return {
            name: {key: pick(runs, key) for key in ("ops_s", "p50_us", "p99_us")}
            for name, runs in (("alone", alone), ("under writes", under))
        }
    finally:
        server.stop()


def cold(directory: Path, rounds: int) -> Figures:
    """MB/s of a cold sequential read through NFS, and of curl with 1, 2, 4 and 8 ranged GETs at once."""
    with Azurite(directory / "azurite.log", directory / "blobs") as azurite:
        server = started(directory, "cold", store="az://cold", env=azurite.environment)
        try:
            bench(server, "write", "conns=1", f"size={COLD_BYTES}", "bs=1M")
            server.flush()
            ranges = blob_ranges(azurite)
            found: Figures = {"caudal": [], **{f"curl {count}": [] for count in (1, 2, 4, 8)}}
            for _ in range(rounds):
                server.cli("cache", "drop")
                found["caudal"].append(
                    bench(server, "read", "conns=1", f"size={COLD_BYTES}", "bs=1M", "depth=8")["MB_s"]
                )
                for count in (1, 2, 4, 8):
                    found[f"curl {count}"].append(curl(directory, ranges, count))
            return {name: statistics.median(runs) for name, runs in found.items()}
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
    "cold": cold,
}


def render(record: Figures) -> str:
    """The page of a record."""
    lines = ["# Performance as things grow", "", *recorded(record)]
    lines += [
        "",
        "The client (NFS 3, `bench/nfsbench.c`) shares the machine with the server; figures are medians.",
    ]
    found = record["found"]
    if "clients" in found:
        lines += ["", "## Clients", "", "4 KiB random reads, warm, 4 requests a connection.", ""]
        lines += ["| connections | operations/s | p99 |", "|---:|---:|---:|"]
        lines += [
            f"| {count} | {ops:,.0f} | {p99:,.0f} µs |" for count, (ops, p99) in found["clients"].items()
        ]
    if "cores" in found:
        lines += [
            "",
            "## Processors",
            "",
            "The server's threads on one processor and on two; the load uses both.",
            "",
        ]
        lines += ["| load | one | two | ratio |", "|---|---:|---:|---:|"]
        lines += [
            f"| {mode} | {one:,.0f} /s | {two:,.0f} /s | {two / one:.2f} |"
            for mode, (one, two) in found["cores"].items()
        ]
    if "mixed" in found:
        alone, under = found["mixed"]["alone"], found["mixed"]["under writes"]
        lines += [
            "",
            "## Reads under a full write load",
            "",
            "Warm 4 KiB reads, one connection of 4 requests.",
            "",
        ]
        lines += ["| | operations/s | p50 | p99 |", "|---|---:|---:|---:|"]
        lines += [
            f"| {name} | {run['ops_s']:,.0f} | {run['p50_us']:,.0f} µs | {run['p99_us']:,.0f} µs |"
            for name, run in found["mixed"].items()
        ]
        lines += ["", f"The p99 is {under['p99_us'] / alone['p99_us']:.1f} times that without writes."]
    if "cold" in found:
        lines += ["", "## Cold sequential read from Azurite", ""]
        lines += ["| | MB/s |", "|---|---:|"]
        lines += [f"| {name} | {rate:,.0f} |" for name, rate in found["cold"].items()]
        lines += [
            "",
            "`curl N` fetches the same blobs by N ranged GETs of 4 MiB at once and throws them away.",
        ]
    return "\n".join(lines) + "\n"


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
    path = save("scaling", "bench.scaling", about, rounds=given.rounds, found=found)
    PAGE.write_text(render(json.loads(path.read_text())))
    print(f"recorded in {path.relative_to(ROOT)}, rendered into {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
