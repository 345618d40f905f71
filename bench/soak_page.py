"""docs/performance-soak.md with its plot, and the verdict, from a record of bench/soak.py: python -m bench.soak_page"""

import json
import statistics
import sys
import textwrap
from pathlib import Path
from typing import Any

from bench.record import newest, recorded
from tests.support.caudal import PROCESSES
from tests.support.processes import ROOT
from tests.support.sampling import slope

PAGE = ROOT / "docs/performance-soak.md"
PLOT = ROOT / "docs/performance-soak.svg"
AT_S, PROCESS, PID, RSS, ANONYMOUS, THREADS, DESCRIPTORS = range(7)
# What a process may gain over the second half and still be called flat. Threads may come and go within the pools: 200
# workers of Ganesha's, the 512 that our runtime may have for work that blocks, and those of both that are always there.
GAIN_MIB, GAIN_FRACTION, GAIN_COUNT, POOLED_THREADS = 12, 0.15, 8, 200 + 512 + 64


def second_half(found: dict[str, Any], process: str) -> list[list[Any]]:
    begin_s, end_s = found["half"]
    return [one for one in found["samples"] if one[PROCESS] == process and begin_s <= one[AT_S] <= end_s]


def gains(found: dict[str, Any], process: str) -> dict[str, tuple[float, float]]:
    """Figure → (its median in the second half, by how much it rose over it, by its slope).

    The first third of that half still fills caches after the last start.
    """
    held = second_half(found, process)
    settled = held[len(held) // 3 :]
    if not settled:
        return {}
    took_s = settled[-1][AT_S] - settled[0][AT_S]
    return {
        name: (
            statistics.median(one[column] for one in settled),
            slope((one[AT_S], one[column]) for one in settled) * took_s,
        )
        for name, column in (("memory", ANONYMOUS), ("threads", THREADS), ("descriptors", DESCRIPTORS))
    }


def verdicts(found: dict[str, Any]) -> tuple[list[str], bool]:
    """One line for each process and one for the whole; whether all is well."""
    lines: list[str] = []
    sound = not found["failures"] and found["fsck"]["clean"]
    for process in PROCESSES:
        parts: list[str] = []
        for name, (middle, gain) in gains(found, process).items():
            most = max(GAIN_MIB, GAIN_FRACTION * middle) if name == "memory" else GAIN_COUNT
            pooled = name == "threads" and max(one[THREADS] for one in found["samples"]) <= POOLED_THREADS
            flat = gain <= most or pooled
            sound = sound and flat
            unit = " MiB" if name == "memory" else ""
            parts.append(f"{name} {middle:,.0f}{unit} ({gain:+.1f}{'' if flat else ', RISING'})")
        lines.append(f"{process}: {', '.join(parts)}")
    lines.append(f"failures of clients: {found['failures'] or 'none'}")
    lines.append(f"fsck: {'clean' if found['fsck']['clean'] else found['fsck']['problems']}")
    lines.append("flat" if sound else "NOT WELL")
    return lines, sound


def render(path: Path) -> None:
    """Writes the page and the plot."""
    record = json.loads(path.read_text())
    found = record["found"]
    about = (
        "Mixed load by several clients: `bench/nfsbench.c` in its modes over NFS 3, and a kernel client with NFS 4.2 that "
        "runs cp -a, diff -r, git, SQLite and rm -rf. In the first half the server is killed with -9 again and again; in "
        "the second nobody touches it, and what its processes hold must not rise. Gains are those of a straight line "
        "through the last two thirds of that half."
    )
    lines = ["# Endurance", "", *textwrap.wrap(about, 120), "", *recorded(record), ""]
    lines += [f"Memory given: `{record['memory']}`. {record['minutes']:g} minutes.", ""]
    lines += [f"Load of the machine by others when it began: {record['machine']['load_before']:.0f}.", ""]
    lines += [
        "| process | memory | gain | threads | gain | descriptors | gain |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for process in PROCESSES:
        row = gains(found, process)
        cells = [
            f"{middle:,.0f}{' MiB' if name == 'memory' else ''} | {gain:+.1f}"
            for name, (middle, gain) in row.items()
        ]
        lines.append(f"| {process} | {' | '.join(cells)} |")
    rounds = ", ".join(f"{name} {count}" for name, count in sorted(found["rounds"].items()))
    said, _ = verdicts(found)
    peak = max(one[THREADS] for one in found["samples"])
    lines += [
        "",
        f"Most threads of a process: {peak}; the pools together may have {POOLED_THREADS}, so a rise below is no rise.",
    ]
    lines += ["", f"Rounds: {rounds}. Verdict: {said[-1]}; {said[-3]}; {said[-2]}.", ""]
    lines += [
        "![Memory, threads and descriptors over time](performance-soak.svg)",
        "",
        f"All samples: `bench/results/{path.name}`.",
        "",
    ]
    PAGE.write_text("\n".join(lines))
    plot(found)


def plot(found: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "caudal"
    import matplotlib.pyplot as plt

    panels = (("MiB, without mapped files", ANONYMOUS), ("threads", THREADS), ("descriptors", DESCRIPTORS))
    figure, rows = plt.subplots(3, 1, figsize=(8, 6), sharex=True)
    for axes, (label, column) in zip(rows, panels, strict=True):
        for process, colour in zip(PROCESSES, ("#777777", "#2a7f62", "#c9822b"), strict=True):
            points = [(one[AT_S] / 60, one[column]) for one in found["samples"] if one[PROCESS] == process]
            axes.plot(*zip(*points, strict=True), label=process, color=colour, linewidth=0.9)
        for at_s in found["half"]:
            axes.axvline(at_s / 60, color="#999999", linewidth=0.5)
        axes.set_ylabel(label, fontsize=8)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    rows[0].legend(frameon=False, fontsize=8, ncols=3)
    rows[-1].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    record = newest("soak")
    if record is None:
        sys.exit("nothing recorded yet")
    render(record)


if __name__ == "__main__":
    main()
