#!/usr/bin/env python3
"""Run the same NFS load against two servers in turn and print the ratio A/B of each figure, round by round.

usage: compare.py URL_A URL_B [--rounds 3] [--modes write,read,randread,...] [--small] [--dir NAME] [--json FILE]

URLs are nfsbench's (see nfsbench.c), which is built on first use (needs gcc and libnfs-dev). Servers are asked in the
order A B, B A, A B ... so that drift of the machine cancels out. The figure of a mode is MB/s for streams and
operations/s for the rest; above 1.0 means that A is faster. Nothing is asserted here.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODES = {
    "write": ["bs=1M", "depth=8"],
    "read": ["bs=1M", "depth=8"],
    "randread": ["bs=4K", "depth=16", "secs=4"],
    "randread128k": ["bs=128K", "depth=8", "secs=4"],
    "randwrite": ["bs=4K", "depth=16", "secs=4"],
    "create": ["depth=16"],
    "stat": ["depth=16", "secs=4"],
    "readfiles": ["depth=16", "secs=4"],
    "unlink": ["depth=16"],
    "mkdir": ["depth=16"],
}
STREAMS = {"write", "read", "randread128k"}
Figures = dict[str, Any]
Rows = dict[str, list[tuple[Figures, Figures]]]


def binary() -> str:
    """nfsbench, built once for each version of its source."""
    source = HERE / "nfsbench.c"
    cache = Path(os.environ.get("CAUDAL_CACHE") or Path.home() / ".cache/caudal") / "bench"
    program = cache / f"nfsbench-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = cache / f".nfsbench.{os.getpid()}"
        subprocess.run(["gcc", "-O2", "-o", str(fresh), str(source), "-lnfs", "-lpthread"], check=True)
        fresh.rename(program)
    return str(program)


def once(url: str, mode: str, extra: Iterable[str], directory: str) -> Figures:
    """One run of one mode; the figures that nfsbench prints. Raises RuntimeError where it could not run."""
    name = "randread" if mode.startswith("randread") else mode
    command = [binary(), url, name, *extra, *MODES.get(mode, ["depth=16"]), f"dir={directory}"]
    # A session of its own: the kernel shares processors among sessions first, and who asks something meanwhile is no load.
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, start_new_session=True
    )
    if run.returncode not in (0, 1) or not run.stdout.strip():
        raise RuntimeError(f"{mode} on {url} failed: {run.stderr.strip()[-300:]}")
    result = json.loads(run.stdout)
    if result["errors"]:
        print(f"  ! {mode} on {url}: {result['errors']} errors: {run.stderr.strip()[-200:]}", file=sys.stderr)
    return result


def compare(a: str, b: str, *, rounds: int, modes: Iterable[str], small: bool, directory: str) -> Rows:
    """Runs all modes in all rounds; the figures of A and B for each mode and round."""
    extra = ["size=64M", "files=500"] if small else ["size=256M", "files=2000"]
    rows: Rows = {}
    for number in range(rounds):
        for mode in modes:
            pair = {}
            for side in "ab" if number % 2 == 0 else "ba":
                pair[side] = once(a if side == "a" else b, mode, extra, f"{directory}{number}")
            rows.setdefault(mode, []).append((pair["a"], pair["b"]))
            print(
                f"  round {number + 1} {mode:<13} {ratio(mode, pair['a'], pair['b']):6.2f}",
                file=sys.stderr,
                flush=True,
            )
    return rows


def unit(mode: str) -> tuple[str, str]:
    """The key of a mode's figure, and its unit."""
    return ("MB_s", "MB/s") if mode in STREAMS else ("ops_s", "op/s")


def ratio(mode: str, a: Figures, b: Figures) -> float:
    key, _ = unit(mode)
    return a[key] / b[key] if b[key] else float("inf")


def table(rows: Rows) -> str:
    """The medians, and the ratios round by round."""
    lines = [f"{'mode':<14}{'A':>12}{'B':>12}{'unit':>8}{'A/B':>8}  (per round)        p99 A / B us"]
    median = statistics.median
    for mode, pairs in rows.items():
        key, name = unit(mode)
        ratios = [ratio(mode, a, b) for a, b in pairs]
        lines.append(
            f"{mode:<14}{median(a[key] for a, _ in pairs):>12.0f}{median(b[key] for _, b in pairs):>12.0f}{name:>8}"
            f"{median(ratios):>8.2f}  {' '.join(f'{each:.2f}' for each in ratios):<18} "
            f"{median(a['p99_us'] for a, _ in pairs):.0f} / {median(b['p99_us'] for _, b in pairs):.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--small", action="store_true", help="64 MiB files and 500 small files a connection")
    parser.add_argument("--dir", default="bench", help="folders to work in: this name and the round's number")
    parser.add_argument("--json")
    given = parser.parse_args()
    rows = compare(
        given.a,
        given.b,
        rounds=given.rounds,
        modes=given.modes.split(","),
        small=given.small,
        directory=given.dir,
    )
    print(table(rows))
    if given.json:
        Path(given.json).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
