"""What a second journal mirror costs: python -m bench.mirrors [--rounds 5] [--device-mb-s 125,0] [--on /var/tmp] [--dry]

Three loop devices with ext4 stand for disks: a server with one mirror has the first, one with two mirrors has the others.
Both take the same NFS load in turn. The devices' files lie in memory, so that no device waits for another; each takes
--device-mb-s MB/s, one speed after the other (0: as many as it can). Where the device is the limit, what is looked for is
whether two are written at the same time. Where it is not, it is what writing everything twice costs; there the server's CPU
time for an operation is the steadier figure. `--on DIR` puts the files on a disk, which then writes every byte twice.

Needs root. Figures go into bench/results/mirrors-DATE.json and docs/reliability.md.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import compare
from bench.compare import Rows
from bench.profile import cpu_s
from bench.record import machine, newest, recorded, replace_part, save
from tests.support import netns
from tests.support.caudal import Caudal
from tests.support.loop_disk import LoopDisk
from tests.support.processes import ROOT

DEVICE_BYTES = 3 << 30
OPTIONS = (
    *("--journal-limit-bytes", "2GiB", "--l1-bytes", "256MiB", "--l2-bytes", "0"),
    *("--flush-age-s", "3600", "--dirty-memory-bytes", "2GiB"),
)
MODES = "write,randwrite,create"
BEGIN, END = "<!-- mirrors: written by bench.mirrors -->", "<!-- end of mirrors -->"


def measure(directory: Path, given: argparse.Namespace) -> dict[str, Rows]:
    """For each speed of the devices in MB/s the figures of a server with two mirrors and of one with a single mirror."""
    with ExitStack() as stack:
        backing = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="caudal-mirrors.", dir=given.on))
        )
        disks = [
            stack.enter_context(LoopDisk(directory / f"disk{n}", backing / f"disk{n}", DEVICE_BYTES))
            for n in range(3)
        ]
        servers: list[Caudal] = []
        for name, mirrors in (("two", disks[1:]), ("one", disks[:1])):
            chosen = [part for disk in mirrors for part in ("--journal", str(disk.path / "journal"))]
            server = Caudal(directory / name, options=(*OPTIONS, *chosen))
            stack.callback(server.stop)
            server.start()
            servers.append(server)
        found: dict[str, Rows] = {}
        for speed in map(int, given.device_mb_s.split(",")):
            for disk in disks:
                disk.limit(speed * 1_000_000)
            found[str(speed)] = in_turn(servers, given.rounds, given.modes.split(","), f"mirrors{speed}-")
        return found


def in_turn(servers: Sequence[Caudal], rounds: int, modes: Iterable[str], folder: str) -> Rows:
    rows: Rows = {}
    for number in range(rounds):
        for mode in modes:
            pair: dict[int, compare.Figures] = {}
            for at in (0, 1) if number % 2 == 0 else (1, 0):
                pair[at] = once(servers[at], mode, f"{folder}{number}")
            rows.setdefault(mode, []).append((pair[0], pair[1]))
            print(f"  round {number + 1} {mode:<10} {compare.ratio(mode, pair[0], pair[1]):.2f}", flush=True)
    return rows


def once(server: Caudal, mode: str, folder: str) -> compare.Figures:
    """A run of a mode, with the server's CPU time for an operation, once everything is on the disks that came before."""
    server.cli("flush", "--wait")
    pid = server.pid("ganesha")
    assert pid is not None
    before_s = cpu_s(pid)
    figures = compare.once(server.url, mode, ["size=256M", "files=2000"], folder)
    return {**figures, "cpu_us": (cpu_s(pid) - before_s) * 1e6 / max(1, figures["ops"])}


def section(record: dict[str, Any]) -> list[str]:
    lines = [
        "| device | load | two mirrors | one mirror | two / one | of each round | server's CPU an operation |",
        "|---|---|---:|---:|---:|---|---:|",
    ]
    for speed, rows in record["rows"].items():
        device = f"{speed} MB/s" if int(speed) else "no limit"
        for mode, pairs in rows.items():
            key, unit = compare.unit(mode)
            ratios = [compare.ratio(mode, a, b) for a, b in pairs]
            two, one = (
                statistics.median(figures[key] for figures in side) for side in zip(*pairs, strict=True)
            )
            cpu = [
                statistics.median(figures["cpu_us"] for figures in side) for side in zip(*pairs, strict=True)
            ]
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            lines.append(
                f"| {device} | {mode} | {two:,.0f} {unit} | {one:,.0f} {unit} | {statistics.median(ratios):.2f} | {each} "
                f"| {cpu[0]:,.0f} and {cpu[1]:,.0f} µs |"
            )
    where = "in memory" if record["in_memory"] else "on one disk, which writes every byte twice"
    return [
        *lines,
        "",
        f"Medians of {record['rounds_each']} rounds; the devices' files lie {where}.",
        "",
        *recorded(record),
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modes", default=MODES)
    parser.add_argument(
        "--device-mb-s", default="125,0", help="speeds of the devices to measure at, in turn; 0: no limit"
    )
    parser.add_argument("--on", type=Path, default=Path("/dev/shm"), help="where the devices' files lie")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the servers run in a network of their own, which needs root")
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-mirrors.", dir="/var/tmp"))
    try:
        rows = measure(directory, given)
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    for speed, table in rows.items():
        print(f"devices of {speed} MB/s\n{compare.table(table)}")
    if not given.dry:
        in_memory = given.on == Path("/dev/shm")
        path = save(
            "mirrors", "bench.mirrors", about, rounds_each=given.rounds, in_memory=in_memory, rows=rows
        )
        record = newest("mirrors")
        assert record
        replace_part(ROOT / "docs/reliability.md", BEGIN, END, section(json.loads(record.read_text())))
        print(f"recorded in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
