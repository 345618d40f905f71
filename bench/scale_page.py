"""docs/performance-scale.md with its plot, from a record of bench/scale.py: python -m bench.scale_page"""

import json
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.record import newest, recorded
from tests.support.processes import ROOT

PAGE = ROOT / "docs/performance-scale.md"
PLOT = ROOT / "docs/performance-scale.svg"
AT_S, PROCESS, _PID, RSS, ANONYMOUS = range(5)
SHOWN = ("ganesha", "steward")
MEANING = {
    "walk": "READDIRPLUS of everything, entries",
    "stat": "stat of a random file, by its path",
    "create": "mknod in the largest directory",
    "unlink": "unlink from the largest directory",
    "walk again": "READDIRPLUS of the largest directory, entries",
}


def most(record: dict[str, Any], process: str, phase: str) -> float:
    """The most that a process held of memory that is no file's, in a phase."""
    held = record["found"]["held"]
    begins = [*held["phases"], (float("inf"), "end")]
    for (begin_s, name), (end_s, _) in pairwise(begins):
        if name == phase:
            return max(
                (
                    one[ANONYMOUS]
                    for one in held["samples"]
                    if one[PROCESS] == process and begin_s <= one[AT_S] < end_s
                ),
                default=0.0,
            )
    return 0.0


def render(path: Path) -> None:
    """Writes the page and the plot."""
    record = json.loads(path.read_text())
    found = record["found"]
    about = (
        "A database of so many inodes, most of them empty files, served under a memory for names and attributes that is far "
        "smaller than the tree. One client asks one thing after the other over NFS 3 and shares the machine, on which other "
        f"work went on too (load {record['machine']['load_before']:.1f} at the start): memory is what to look at, not speed."
    )
    lines = ["# A tree of millions of files", "", *textwrap.wrap(about, 120), "", *recorded(record), ""]
    lines += [f"Memory given: `{record['memory']}`.", "", "## Starts", ""]
    lines += ["`caudal up` until NFS answers; medians.", ""]
    lines += [
        "| inodes | database | start after an orderly end | after everything was killed |",
        "|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['inodes']:,} | {one['database_mib']:,.0f} MiB | {one['orderly_s']:.2f} s | {one['killed_s']:.2f} s |"
        for one in found["starts"]
    ]
    lines += ["", "## Load", ""]
    lines += [
        "Memory is the most that a process held of its own, without mapped files.",
        "",
        "| load | | calls or entries | per second | p50 | p99 | longest | ganesha.nfsd | steward |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in found["load"].items():
        times = [f"{one[key]:,.0f} µs" if key in one else "" for key in ("p50_us", "p99_us", "max_us")]
        memory = [f"{most(record, process, name):,.0f} MiB" for process in SHOWN]
        cells = [
            name,
            MEANING[name],
            f"{one['calls']:,}",
            f"{one['per_s']:,.0f}",
            *times,
            *memory,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    fsck = found["fsck"]
    checked = (
        f"fsck of the running server looked at {fsck['inodes']:,} inodes in {fsck['took_s']:.0f} s and "
        f"{fsck['rss_mib']:,.0f} MiB."
    )
    lines += [
        "",
        checked,
        "",
        "![Memory while a client works](performance-scale.svg)",
        "",
        f"All samples: `bench/results/{path.name}`.",
        "",
    ]
    PAGE.write_text("\n".join(lines))
    plot(record)


def plot(record: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "caudal"
    import matplotlib.pyplot as plt

    held = record["found"]["held"]
    figure, axes = plt.subplots(figsize=(8, 3.6))
    for process, colour in zip(SHOWN, ("#2a7f62", "#c9822b"), strict=True):
        points = [(one[AT_S], one[ANONYMOUS]) for one in held["samples"] if one[PROCESS] == process]
        axes.plot(*zip(*points, strict=True), label=process, color=colour, linewidth=1)
    for at_s, name in held["phases"]:
        axes.axvline(at_s, color="#999999", linewidth=0.5)
        axes.text(at_s, 1.01, f" {name}", fontsize=7, rotation=35, transform=axes.get_xaxis_transform())
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("MiB, without mapped files")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    record = newest("scale")
    if record is None:
        sys.exit("nothing recorded yet")
    render(record)


if __name__ == "__main__":
    main()
