"""Where the server's microseconds go: python -m bench.profile [--modes create,stat] [--servers Caudal] [--dry]

Runs nfsbench's loads on both servers in turn and samples each with perf (Debian's linux-perf): the CPU time that an
operation takes in the server, by where it was spent (kernel, Ganesha, shim, Python, core …), and the symbols that took most.
Before each load everything is flushed, so that what one load left to be done is not counted to the next. Needs root. Figures
go into bench/results/profile-DATE.json and docs/performance-profile.md.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import compare
from bench.compare import Figures
from bench.record import machine, recorded, save
from tests.support import netns
from tests.support.caudal import Caudal
from tests.support.processes import ROOT
from tests.support.stock import StockGanesha

SAMPLES_HZ = 1999
SYMBOLS = 12
WARM_UPS = 2
# Parts below that are not worth a column.
SHOWN_US = 0.5
PAGE = ROOT / "docs/performance-profile.md"
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


def profile(url: str, pid: int, mode: str, extra: list[str], data: Path) -> Figures:
    """One load: its rate, and by part and by symbol the microseconds of CPU that an operation took."""
    before_s = cpu_s(pid)
    with sampled(pid, data):
        figures = compare.once(url, mode, extra, "profile")
    used_us = (cpu_s(pid) - before_s) * 1e6 / max(1, figures["ops"])
    found = rows(data)
    if not found:
        sys.exit("perf took no samples; run it again")
    parts: dict[str, float] = defaultdict(float)
    for share, dso, _ in found:
        parts[part_of(dso)] += share * used_us
    key, unit = compare.unit(mode)
    return {
        "rate": figures[key],
        "unit": unit,
        "p99_us": figures["p99_us"],
        "cpu_us": used_us,
        "parts_us": dict(sorted(parts.items(), key=lambda part: -part[1])),
        "symbols_us": [(share * used_us, part_of(dso), symbol) for share, dso, symbol in found[:SYMBOLS]],
    }


def tell(mode: str, name: str, run: Figures) -> None:
    shares = ", ".join(f"{part} {us:.1f}" for part, us in run["parts_us"].items() if us >= SHOWN_US)
    rate = f"{run['rate']:,.0f} {run['unit']}, p99 {run['p99_us']:,.0f} us"
    print(f"{mode} on {name}: {rate}; {run['cpu_us']:.1f} us of CPU an operation: {shares}")
    for us, part, symbol in run["symbols_us"]:
        print(f"    {us:7.2f} us  {part:<8} {symbol[:100].strip()}", flush=True)


def render(record: Figures) -> str:
    """docs/performance-profile.md of a record."""
    lines = ["# Where the microseconds go", "", *recorded(record), ""]
    lines += textwrap.wrap(
        "CPU time that the server process spends on one operation of the client, by the shared object in which perf found "
        "it. The stock server's FSAL_VFS does most of its part in the kernel, ours in core, shim and Python. The time of a "
        "`write` contains the journal's and, where it ran already, the flush's; that of names the group commit's. Of "
        "`write` it is the third run, in which the journal's segments are used again. Into segments that are new it took "
        "several times as much on a virtual machine (copying into the page cache), probably because the host has to find "
        "the memory first, which was not tested; a server whose journal is new pays that.",
        120,
    )
    modes = record["found"]
    names = sorted({part for runs in modes.values() for run in runs.values() for part in run["parts_us"]})
    shown = [
        name
        for name in names
        if any(run["parts_us"].get(name, 0) >= SHOWN_US for runs in modes.values() for run in runs.values())
    ]
    lines += ["", f"| load | server | all | {' | '.join(shown)} |", "|---|---|---:|" + "---:|" * len(shown)]
    for mode, runs in modes.items():
        for name, run in runs.items():
            cells = " | ".join(f"{run['parts_us'].get(part, 0):,.1f}" for part in shown)
            lines.append(f"| {mode} | {name} | {run['cpu_us']:,.1f} µs | {cells} |")
    lines += ["", "## The symbols that took most", ""]
    for mode, runs in modes.items():
        lines += [f"**{mode}**, Caudal:", ""]
        lines += [
            f"- {us:,.1f} µs `{symbol.split('  ')[0].strip()}` ({part})"
            for us, part, symbol in runs["Caudal"]["symbols_us"][:6]
        ]
        lines.append("")
    return "\n".join(lines)


def measure(directory: Path, given: argparse.Namespace) -> Figures:
    """Mode → server → profile()'s figures."""
    extra = ["size=64M", "files=2000"] if given.small else ["size=256M", "files=8000"]
    server = Caudal(directory / "caudal", options=given.options)
    found: Figures = {}
    try:
        with StockGanesha(directory / "stock-export", directory / "stock") as stock:
            server.start()
            targets = {"Caudal": (server.url, server.pid("ganesha")), "stock": (stock.url, stock.pid)}
            for mode in given.modes.split(","):
                for name in given.servers.split(","):
                    server.flush()
                    os.sync()
                    url, pid = targets[name]
                    assert pid, f"{name} does not run"
                    for number in range(WARM_UPS if mode == "write" else 0):
                        compare.once(url, mode, extra, f"warm-up{number}")
                        server.flush()
                    run = profile(url, pid, mode, extra, directory / "perf.data")
                    found.setdefault(mode, {})[name] = run
                    tell(mode, name, run)
        return found
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--modes",
        default=",".join(compare.MODES),
        help="a load needs what those before it in the default made",
    )
    parser.add_argument("--servers", default="Caudal,stock")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"))
    parser.add_argument("options", nargs="*", help="after --: options of `caudal up`")
    given = parser.parse_args()
    if not shutil.which("perf"):
        sys.exit("perf is missing: apt-get install linux-perf")
    if not netns.enter():
        sys.exit("the servers run in a network of their own, which needs root")
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-profile.", dir=given.disk))
    try:
        found = measure(directory, given)
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    if given.dry or given.servers != "Caudal,stock":
        return
    path = save("profile", "bench.profile", about, found=found)
    PAGE.write_text(render(json.loads(path.read_text())))
    print(f"recorded in {path.relative_to(ROOT)}, rendered into {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
