"""docs/performance-scaling.md, from a record of bench.scaling."""

import textwrap
from typing import Any

from bench.record import recorded

Figures = dict[str, Any]


def clients_part(ours: Figures, stock: Figures) -> list[str]:
    lines = ["", "## Clients", "", "4 KiB random reads, warm, 4 requests a connection.", ""]
    lines += ["| connections | Caudal | p99 | stock | p99 |", "|---:|---:|---:|---:|---:|"]
    for count, run in ours.items():
        peer = stock[count]
        lines.append(
            f"| {count} | {run['ops_s']:,.0f} /s | {run['p99_us']:,.0f} µs "
            f"| {peer['ops_s']:,.0f} /s | {peer['p99_us']:,.0f} µs |"
        )
    return lines


def cores_part(ours: Figures, stock: Figures) -> list[str]:
    lines = [
        "",
        "## Processors",
        "",
        "The server's threads on one processor and on two; the load uses both.",
        "",
    ]
    lines += ["| load | Caudal: one | two | ratio | stock: one | two | ratio |", "|---|" + "---:|" * 6]
    for mode, (one, two) in ours.items():
        a, b = stock[mode]
        lines.append(
            f"| {mode} | {one:,.0f} /s | {two:,.0f} /s | {two / one:.2f} | {a:,.0f} /s | {b:,.0f} /s | {b / a:.2f} |"
        )
    return lines


def mixed_part(ours: Figures, stock: Figures) -> list[str]:
    lines = [
        "",
        "## Reads under a full write load",
        "",
        "Warm 4 KiB reads, one connection of 4 requests.",
        "",
    ]
    lines += ["| | operations/s | p50 | p99 | written meanwhile |", "|---|---:|---:|---:|---:|"]
    times: list[str] = []
    for server, runs in (("Caudal", ours), ("stock", stock)):
        for how, run in runs.items():
            lines.append(
                f"| {server} {how} | {run['ops_s']:,.0f} | {run['p50_us']:,.0f} µs | {run['p99_us']:,.0f} µs | "
                + (f"{run['written_MB_s']:,.0f} MB/s |" if run.get("written_MB_s") else "|")
            )
        times.append(f"{runs['under writes']['p99_us'] / runs['alone']['p99_us']:.1f} times ({server})")
    lines += ["", f"The p99 is {' and '.join(times)} that without writes."]
    if any("first" in how for how in ours):
        about = (
            "`processors first`: server and reader run before the writer and everybody else (real-time priorities). What is "
            "left is what a read waits for in the server; the rest it waits for one of the two processors."
        )
        lines += ["", *textwrap.wrap(about, 120)]
    return lines


def listing_part(ours: Figures, stock: Figures) -> list[str]:
    about = (
        "A kernel client (user-mode Linux) lists a directory of 50,000 files of 4 KiB with their attributes, when the "
        "server was just started. With the client's cache alone dropped the server has everything in memory: what "
        "that takes is nearly all the client's own time."
    )
    lines = ["", "## `ls -l` of 50,000 files", "", *textwrap.wrap(about, 120), ""]
    lines += ["| | cold | CPU of the server in it | the client's cache dropped |", "|---|---:|---:|---:|"]
    for server, versions in (("Caudal", ours), ("stock", stock)):
        for version, run in versions.items():
            times = f"{run['cold_s']:.2f} s | {run['server_cpu_s']:.2f} s | {run['client_s']:.2f} s"
            lines.append(f"| {server}, NFS {version} | {times} |")
    return lines


def render(record: Figures) -> str:
    """The page of a record."""
    lines = ["# Performance as things grow", "", *recorded(record)]
    lines += [
        "",
        "The client (NFS 3, `bench/nfsbench.c`) shares the machine with the server; figures are medians.",
    ]
    found = record["found"]
    for name, part in (
        ("clients", clients_part),
        ("cores", cores_part),
        ("mixed", mixed_part),
        ("listing", listing_part),
    ):
        if name in found:
            lines += part(found[name]["Caudal"], found[name]["stock"])
    if "cold" in found:
        # Records of before say nothing of it.
        ahead_mib = record.get("ahead_mib", 8)
        lines += ["", "## Cold sequential read from Azurite", ""]
        lines += ["| | MB/s |", "|---|---:|"]
        lines += [f"| {name} | {rate:,.0f} |" for name, rate in found["cold"].items()]
        about = (
            "`curl N` fetches the same blobs by N ranged GETs of 4 MiB at once and throws them away. Caudal fetches in "
            f"pieces of 4 MiB too, and read {ahead_mib} MiB ahead: {ahead_mib // 4} at once."
        )
        if any("away" in name for name in found["cold"]):
            about += (
                " `away`: a proxy in Python, which takes part of the processors, holds each GET back for so long, as where "
                "one connection brings 50 MB/s."
            )
        lines += ["", *textwrap.wrap(about, 120)]
    return "\n".join(lines) + "\n"
