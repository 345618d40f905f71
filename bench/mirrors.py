"""What a second journal mirror costs: python -m bench.mirrors [--rounds 5] [--on /var/tmp] [--dry]

Three loop devices with ext4 stand for disks: a server with one mirror has the first, one with two mirrors has the others.
Both take the same NFS load in turn. The devices' files lie in memory, so that no device waits for another: what is left is
the work of writing everything twice. `--on DIR` puts them on a disk instead, which then writes every byte twice.

Needs root. Figures go into bench/results/mirrors-DATE.json and docs/reliability.md.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import compare
from bench.crash.page import replace_part
from bench.record import machine, newest, recorded, save
from tests.support import netns
from tests.support.caudal import Caudal
from tests.support.processes import ROOT

DEVICE_BYTES = 3 << 30
OPTIONS = (
    *("--journal-limit-bytes", "2GiB", "--l1-bytes", "256MiB", "--l2-bytes", "0"),
    *("--flush-age-s", "3600", "--dirty-memory-bytes", "2GiB"),
)
MODES = ("write", "randwrite", "create")
BEGIN, END = "<!-- mirrors: written by bench.mirrors -->", "<!-- end of mirrors -->"


@contextmanager
def device(backing: Path, mount: Path) -> Iterator[Path]:
    """A file system of its own on a loop device of its own."""
    with backing.open("wb") as file:
        file.truncate(DEVICE_BYTES)
    attached = subprocess.run(
        ["losetup", "--find", "--show", str(backing)], capture_output=True, text=True, check=True
    )
    loop = attached.stdout.strip()
    try:
        subprocess.run(["mkfs.ext4", "-q", loop], check=True)
        mount.mkdir()
        subprocess.run(["mount", loop, str(mount)], check=True)
        try:
            yield mount
        finally:
            subprocess.run(["umount", str(mount)], check=True)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
        backing.unlink()


def measure(directory: Path, on: Path, rounds: int) -> compare.Rows:
    """Figures of a server with two mirrors (A) and of one with a single mirror (B)."""
    with ExitStack() as stack:
        backing = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="caudal-mirrors.", dir=on)))
        journals = [
            stack.enter_context(device(backing / f"disk{n}", directory / f"disk{n}")) / "journal"
            for n in range(3)
        ]
        urls: list[str] = []
        for name, mirrors in (("two", journals[1:]), ("one", journals[:1])):
            chosen = [part for path in mirrors for part in ("--journal", str(path))]
            server = Caudal(directory / name, options=(*OPTIONS, *chosen))
            stack.callback(server.stop)
            server.start()
            urls.append(server.url)
        return compare.compare(*urls, rounds=rounds, modes=MODES, small=False, directory="mirrors")


def section(record: dict[str, Any]) -> list[str]:
    lines = ["| load | two mirrors | one mirror | two / one | of each round |", "|---|---:|---:|---:|---|"]
    for mode, pairs in record["rows"].items():
        key, unit = compare.unit(mode)
        ratios = [compare.ratio(mode, a, b) for a, b in pairs]
        two, one = (statistics.median(figures[key] for figures in side) for side in zip(*pairs, strict=True))
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(
            f"| {mode} | {two:,.0f} {unit} | {one:,.0f} {unit} | {statistics.median(ratios):.2f} | {each} |"
        )
    where = "in memory" if record["in_memory"] else "on one disk, which writes every byte twice"
    return [
        *lines,
        "",
        f"Medians of {record['rounds']} rounds; the devices' files lie {where}.",
        "",
        *recorded(record),
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--on", type=Path, default=Path("/dev/shm"), help="where the devices' files lie")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the servers run in a network of their own, which needs root")
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-mirrors.", dir="/var/tmp"))
    try:
        rows = measure(directory, given.on, given.rounds)
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    print(compare.table(rows))
    if not given.dry:
        in_memory = given.on == Path("/dev/shm")
        path = save("mirrors", "bench.mirrors", about, rounds=given.rounds, in_memory=in_memory, rows=rows)
        record = newest("mirrors")
        assert record
        replace_part(BEGIN, END, section(json.loads(record.read_text())))
        print(f"recorded in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
