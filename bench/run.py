"""Caudal beside the stock server on the same disk: python -m bench.run [--rounds N] [--small] [--modes …] [--dry]

Starts both in a private network (needs root), runs compare.py's loads on them in turn, records figures, command, date and
machine in bench/results/beside-stock-DATE.json, and renders docs/performance.md with its plot from the newest record.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from bench import compare
from bench.record import machine, newest, recorded, save
from tests.support import netns
from tests.support.caudal import Caudal
from tests.support.processes import ROOT
from tests.support.stock import StockGanesha

KIND = "beside-stock"
PAGE = ROOT / "docs/performance.md"
PLOT = ROOT / "docs/performance.svg"
README = ROOT / "README.md"
README_MARKS = ("<!-- measured figures: begin -->\n", "<!-- measured figures: end -->")
MEANING = {
    "write": "streaming write, then fsync",
    "read": "streaming read, warm",
    "randread": "4 KiB random reads, warm",
    "randread128k": "128 KiB random reads, warm",
    "randwrite": "4 KiB random overwrites, then fsync",
    "create": "create, write 4 KiB, close",
    "stat": "path walk and getattr",
    "readfiles": "open, read 4 KiB, close",
    "unlink": "unlink",
    "mkdir": "mkdir",
}


def measure(directory: Path, given: argparse.Namespace) -> compare.Rows:
    """Both servers at once on one disk, so that both pay for the other's presence; the load goes to one at a time."""
    server = Caudal(directory / "caudal", options=given.options)
    with StockGanesha(directory / "stock-export", directory / "stock") as stock:
        try:
            server.start()
            modes = given.modes.split(",")
            return compare.compare(
                server.url, stock.url, rounds=given.rounds, modes=modes, small=given.small, directory="bench"
            )
        finally:
            server.stop()


def medians(record: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Mode → (Caudal, stock, ratio)."""
    found: dict[str, tuple[float, float, float]] = {}
    for mode, pairs in record["rows"].items():
        key, _ = compare.unit(mode)
        found[mode] = (
            statistics.median(a[key] for a, _ in pairs),
            statistics.median(b[key] for _, b in pairs),
            statistics.median(compare.ratio(mode, a, b) for a, b in pairs),
        )
    return found


def render(path: Path) -> None:
    """Writes docs/performance.md and its plot from a record."""
    record = json.loads(path.read_text())
    found = medians(record)
    about = (
        "Caudal beside the stock server: nfs-ganesha of Debian 12 with FSAL_VFS on a local directory of the same disk. "
        "Caudal's store is a directory of that disk too, its journal is fsynced, and everything is measured through NFS 3 "
        "by `bench/nfsbench.c`, whose client shares the machine. Medians of the rounds; a ratio above 1 means that Caudal "
        "is faster."
    )
    lines = ["# Performance", "", *textwrap.wrap(about, 120), "", *recorded(record), ""]
    lines += [
        "| load | | Caudal | stock | unit | ratio | p99 Caudal | p99 stock |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for mode, figures in found.items():
        pairs = record["rows"][mode]
        p99 = [statistics.median(pair[side]["p99_us"] for pair in pairs) for side in (0, 1)]
        lines.append(f"{row(mode, figures)} {p99[0]:,.0f} µs | {p99[1]:,.0f} µs |")
    lines += [
        "",
        "![Ratio to the stock server by load](performance.svg)",
        "",
        f"All rounds: `bench/results/{path.name}`.",
        "",
    ]
    PAGE.write_text("\n".join(lines))
    brief = [
        *recorded(record),
        "",
        "| load | | Caudal | stock | unit | ratio |",
        "|---|---|---:|---:|---|---:|",
    ]
    brief += [row(mode, figures) for mode, figures in found.items()]
    into_readme(
        "\n".join([*brief, "", "Stock is nfs-ganesha with FSAL_VFS on a directory of the same disk.", ""])
    )
    plot({mode: ratio for mode, (_, _, ratio) in found.items()}, record)


def row(mode: str, figures: tuple[float, float, float]) -> str:
    """A row of a table, to which columns may be added."""
    ours, theirs, ratio = figures
    unit = compare.unit(mode)[1]
    return f"| {mode} | {MEANING.get(mode, '')} | {ours:,.0f} | {theirs:,.0f} | {unit} | {ratio:.2f} |"


def into_readme(text: str) -> None:
    """Puts the figures between their marks."""
    whole = README.read_text()
    begin, end = README_MARKS
    before, rest = whole.split(begin)
    README.write_text(f"{before}{begin}{text}{end}{rest.split(end)[1]}")


def plot(ratios: dict[str, float], record: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "caudal"
    import matplotlib.pyplot as plt

    modes = list(ratios)[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(modes) + 1.4))
    colours = ["#2a7f62" if ratios[mode] >= 1 else "#c9822b" for mode in modes]
    bars = axes.barh(modes, [ratios[mode] for mode in modes], color=colours)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlim(0, max(1.2, *ratios.values()) * 1.12)
    axes.set_xlabel("Caudal / stock nfs-ganesha with FSAL_VFS (higher is better)")
    axes.set_title(
        f"NFS 3, {record['machine']['cores']} cores shared with the client, {record['date'][:10]}",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default=",".join(compare.MODES))
    parser.add_argument("--small", action="store_true", help="64 MiB files and 500 small files a connection")
    parser.add_argument("--dry", action="store_true", help="print the table, record nothing")
    parser.add_argument(
        "--disk", type=Path, default=Path("/var/tmp"), help="where both servers keep their data"
    )
    parser.add_argument("--render", action="store_true", help="measure nothing, render the newest record")
    parser.add_argument("options", nargs="*", help="after --: options of `caudal up`")
    given = parser.parse_args()
    if given.render:
        record = newest(KIND)
        if record is None:
            sys.exit("nothing recorded yet")
        render(record)
        return
    if not netns.enter():
        sys.exit("the servers run in a network of their own, which needs root")
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-bench.", dir=given.disk))
    try:
        rows = measure(directory, given)
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    print(compare.table(rows))
    if given.dry:
        return
    path = save(KIND, "bench.run", about, rounds=given.rounds, rows=rows)
    render(path)
    print(f"recorded in {path.relative_to(ROOT)}, rendered into {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
