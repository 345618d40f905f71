"""How long a server takes to come back with much in its journal: python -m bench.recovery [--gib 1] [--runs 3] [--dry]

Over NFS 3 so much is written and committed while nothing may be flushed; then the server is killed with -9, and the time
runs until the next one answers NFS: once with the journal still in the page cache, as after a crash of the process, and once
with it dropped, as after a crash of the machine. The speed of the replay is that of the log's record "recovered". Afterwards
all is read back and compared.

Needs root. Figures go into bench/results/recovery-DATE.json and docs/reliability.md.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.record import machine, newest, recorded, replace_part, save
from tests.support import netns
from tests.support.caudal import Caudal
from tests.support.processes import ROOT

GIB = 1 << 30
FILE_BYTES = 64 << 20
OPTIONS = (
    *("--flush-age-s", "3600", "--journal-limit-bytes", "16GiB", "--dirty-memory-bytes", "4GiB"),
    *("--l1-bytes", "64MiB", "--l2-bytes", "0"),
)
BEGIN, END = "<!-- recovery: written by bench.recovery -->", "<!-- end of recovery -->"


def piece(number: int) -> bytes:
    """A MiB that no other number has."""
    return hashlib.shake_128(number.to_bytes(8, "big")).digest(1 << 20)


def fill(server: Caudal, files: int) -> int:
    """Writes and commits; returns the bytes."""
    each = FILE_BYTES >> 20
    with server.connect(timeout_s=120) as nfs:
        for number in range(files):
            with nfs.open(f"/f{number}", os.O_CREAT | os.O_RDWR) as file:
                for at in range(each):
                    file.pwrite(piece(number * each + at), at << 20)
                file.fsync()
    return files * FILE_BYTES


def check(server: Caudal, files: int) -> None:
    each = FILE_BYTES >> 20
    with server.connect(timeout_s=120) as nfs:
        for number in range(files):
            with nfs.open(f"/f{number}") as file:
                for at in range(each):
                    if file.pread(1 << 20, at << 20) != piece(number * each + at):
                        raise AssertionError(f"f{number} is other than it was at {at} MiB")


def drop_from_page_cache(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def recover(server: Caudal, *, cold: bool) -> dict[str, float]:
    """One death and one recovery; seconds, bytes of journal."""
    log = server.state / "run/log/gateway.log"
    dirty_bytes = server.status()["flush"]["dirty_bytes"]
    if cold:
        server.kill_everything()
        drop_from_page_cache(server.state / "journal")
        began_s = time.monotonic()
        server.start(timeout_s=300)
    else:
        began_s = time.monotonic()
        server.wait_restarted(server.kill_server(), timeout_s=300)
    serves_s = time.monotonic() - began_s
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    told = [line for line in lines if line.get("event") == "recovered"][-1]
    return {
        "dirty_bytes": dirty_bytes,
        "journal_bytes": told["bytes"],
        "replay_s": told["seconds"],
        "serves_s": round(serves_s, 2),
    }


def measure(directory: Path, files: int, runs: int) -> dict[str, list[dict[str, float]]]:
    server = Caudal(directory / "state", options=OPTIONS)
    try:
        server.start()
        fill(server, files)
        found = {
            name: [recover(server, cold=cold) for _ in range(runs)]
            for name, cold in (("server killed", False), ("everything killed, journal not in memory", True))
        }
        check(server, files)
    finally:
        server.stop()
    return found


def section(record: dict[str, Any]) -> list[str]:
    lines = [
        "| | dirty | journal | replay | speed | until NFS serves |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, runs in record["found"].items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        lines.append(
            f"| {name} | {middle['dirty_bytes'] / GIB:.2f} GiB | {middle['journal_bytes'] / GIB:.2f} GiB | "
            f"{middle['replay_s']:.2f} s | {middle['journal_bytes'] / 1e6 / middle['replay_s']:,.0f} MB/s | "
            f"{middle['serves_s']:.1f} s |"
        )
    runs = record["runs"]
    return [*lines, "", f"Medians of {runs} runs.", "", *recorded(record), ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the server runs in a network of its own, which needs root")
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-recovery.", dir=given.disk))
    try:
        found = measure(directory, max(1, int(given.gib * GIB) // FILE_BYTES), given.runs)
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    print(json.dumps(found, indent=1))
    if not given.dry:
        path = save("recovery", "bench.recovery", about, runs=given.runs, found=found)
        record = newest("recovery")
        assert record
        replace_part(ROOT / "docs/reliability.md", BEGIN, END, section(json.loads(record.read_text())))
        print(f"recorded in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
