"""Where the server's microseconds go: python -m bench.profile [--modes create,stat] [--stock] [--symbols N]

Runs nfsbench's loads on one server (Caudal, or with --stock the stock one) and samples it with perf (Debian's linux-perf).
Prints for each load the CPU time that an operation takes in the server, by where it was spent (kernel, Ganesha, shim,
Python, core …), and the symbols that took most. Needs root; nothing is recorded.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import compare
from tests.support import netns
from tests.support.caudal import Caudal
from tests.support.stock import StockGanesha

SAMPLES_HZ = 1999
PARTS = (
    (re.compile(r"^\[kernel|^\[guest|^\[unknown"), "kernel"),
    (re.compile(r"libganesha|ganesha\.nfsd|libfsalvfs"), "Ganesha"),
    (re.compile(r"libntirpc"), "RPC"),
    (re.compile(r"libfsalpyganesha", re.IGNORECASE), "shim"),
    (re.compile(r"_core.*\.so"), "core"),
    (re.compile(r"libpython|_msgspec|_sqlite|\.cpython|libsqlite"), "Python"),
    (re.compile(r"libc|ld-linux|vdso"), "libc"),
)
Row = tuple[float, str, str]
"""(share, shared object, symbol)."""


def part_of(dso: str) -> str:
    return next((name for pattern, name in PARTS if pattern.search(dso)), dso)


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def sampled(pid: int, data: Path) -> Iterator[None]:
    command = [
        "perf",
        "record",
        "-q",
        "-e",
        "cpu-clock",
        "-F",
        str(SAMPLES_HZ),
        "-o",
        str(data),
        "-p",
        str(pid),
    ]
    perf = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    try:
        yield
    finally:
        perf.terminate()
        perf.wait()


def rows(data: Path) -> list[Row]:
    """Samples by shared object and symbol, most first."""
    command = [
        "perf",
        "report",
        "-i",
        str(data),
        "--stdio",
        "--sort",
        "dso,symbol",
        "-t",
        "|",
        "--no-children",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: list[Row] = []
    for line in text.splitlines():
        if line.startswith("#") or line.count("|") < 2:
            continue
        share, dso, symbol = (field.strip() for field in line.split("|", 2))
        found.append((float(share.rstrip("%")) / 100, dso, re.sub(r"^\[[.k]\] ", "", symbol)))
    return found


def profile(url: str, pid: int, mode: str, extra: list[str], data: Path, symbols: int) -> None:
    before_s = cpu_s(pid)
    with sampled(pid, data):
        figures = compare.once(url, mode, extra, "profile")
    used_us = (cpu_s(pid) - before_s) * 1e6 / max(1, figures["ops"])
    found = rows(data)
    parts: dict[str, float] = defaultdict(float)
    for share, dso, _ in found:
        parts[part_of(dso)] += share
    key, unit = compare.unit(mode)
    shares = ", ".join(
        f"{name} {used_us * share:.1f}" for name, share in sorted(parts.items(), key=lambda part: -part[1])
    )
    rate = f"{figures[key]:,.0f} {unit}, p99 {figures['p99_us']:,.0f} us"
    print(f"{mode}: {rate}; {used_us:.1f} us of CPU an operation: {shares}")
    for share, dso, symbol in found[:symbols]:
        print(f"    {used_us * share:7.2f} us  {100 * share:5.1f}%  {part_of(dso):<8} {symbol[:100]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modes", default=",".join(compare.MODES))
    parser.add_argument("--stock", action="store_true", help="the stock server instead of Caudal")
    parser.add_argument("--symbols", type=int, default=12)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"))
    parser.add_argument("options", nargs="*", help="after --: options of `caudal up`")
    given = parser.parse_args()
    if not shutil.which("perf"):
        sys.exit("perf is missing: apt-get install linux-perf")
    if not netns.enter():
        sys.exit("the servers run in a network of their own, which needs root")
    directory = Path(tempfile.mkdtemp(prefix="caudal-profile.", dir=given.disk))
    extra = ["size=64M", "files=2000"] if given.small else ["size=256M", "files=8000"]
    server = Caudal(directory / "caudal", options=given.options)
    try:
        with StockGanesha(directory / "stock-export", directory / "stock") as stock:
            server.start()
            pid = stock.pid if given.stock else server.pid("ganesha")
            assert pid
            for mode in given.modes.split(","):
                url = stock.url if given.stock else server.url
                profile(url, pid, mode, extra, directory / "perf.data", given.symbols)
    finally:
        server.stop()
        netns.leave_nobody()
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
