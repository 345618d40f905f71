"""A working set and a scan of more than the cache holds: python -m bench.scan [--l1 MiB] [--l2 MiB] [--scan MiB]

A client reads a set of files three times, then others that are several times as large as the cache, once, then the set
again. Once with a set that fits into L1, once with one that fits into L2 only; each with a server of its own. What came from
L1, L2 and the store is recorded before and after the scan, in bench/results/scan-DATE.json.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import record
from tests.support import netns
from tests.support.caudal import Caudal
from tests.support.nfs3 import Nfs3
from tests.support.processes import wait_until

MIB = 1 << 20
FILE_MIB = 4
ROUNDS = 3


def write(server: Caudal, nfs: Nfs3, directory: str, mib: int) -> list[str]:
    """Files that differ in every block."""
    nfs.mkdir(directory)
    paths: list[str] = []
    for number in range(mib // FILE_MIB):
        paths.append(f"{directory}/{number}")
        nfs.write_file(paths[-1], bytes([number % 251]) * (FILE_MIB * MIB))
    server.flush()
    return paths


def read(server: Caudal, nfs: Nfs3, paths: list[str]) -> dict[str, float]:
    """Reads files once; the share of look-ups that each tier answered."""
    before = figures(server)
    for path in paths:
        nfs.read_file(path)
    after = figures(server)
    l1_hits, l1_misses, l2_hits = (after[key] - before[key] for key in ("l1_hits", "l1_misses", "l2_hits"))
    asked = max(1, l1_hits + l1_misses)
    store = max(0, after["fetched"] - before["fetched"])
    return {
        "l1": round(l1_hits / asked, 3),
        "l2_blocks": l2_hits,
        "store_mib": round(store / MIB, 1),
    }


def figures(server: Caudal) -> dict[str, int]:
    status: dict[str, Any] = server.status()
    cache = status["cache"]
    return {
        "l1_hits": cache["l1"]["hits"],
        "l1_misses": cache["l1"]["misses"],
        "l2_hits": cache["l2"]["hits"],
        "fetched": status["objects"]["get_bytes"],
    }


def quiet(server: Caudal) -> None:
    """What waits for the shelf is written."""
    last = -1

    def stands_still() -> bool:
        nonlocal last
        before, last = last, int(server.status()["cache"]["l2"]["bytes"])
        return before == last

    wait_until(stands_still, "the shelf is written", timeout_s=60, interval_s=0.5)


def run(directory: Path, sizes: argparse.Namespace, set_mib: int) -> dict[str, Any]:
    options = ("--l1-bytes", f"{sizes.l1}MiB", "--l2-bytes", f"{sizes.l2}MiB", "--readahead-bytes", "0")
    server = Caudal(directory / f"set{set_mib}", options=options).start()
    try:
        with server.connect() as nfs:
            wanted, others = write(server, nfs, "/set", set_mib), write(server, nfs, "/scan", sizes.scan)
            server.cli("cache", "drop")
            rounds = []
            for _ in range(ROUNDS):
                rounds.append(read(server, nfs, wanted))
                quiet(server)
            scan = read(server, nfs, others)
            quiet(server)
            return {
                "set_mib": set_mib,
                "before": rounds[-1],
                "scan": scan,
                "after": read(server, nfs, wanted),
                "again": read(server, nfs, wanted),
            }
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--l1", type=int, default=64)
    parser.add_argument("--l2", type=int, default=256)
    parser.add_argument("--scan", type=int, default=768)
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="where the server keeps its data")
    parser.add_argument("--dry", action="store_true", help="record nothing")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the server runs in a network of its own, which needs root")
    about = record.machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-scan.", dir=given.disk))
    try:
        found = [run(directory, given, given.l1 // 2), run(directory, given, given.l2 // 2)]
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    for one in found:
        print(one)
    if not given.dry:
        sizes = {"l1_mib": given.l1, "l2_mib": given.l2, "scan_mib": given.scan}
        print(record.save("scan", "bench.scan", about, sizes=sizes, sets=found))


if __name__ == "__main__":
    main()
