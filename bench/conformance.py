"""pjdfstest on Caudal and on the stock server, by every NFS version: python -m bench.conformance [--versions …] [--dry]

Both serve a directory of the same disk, in a private network (needs root); a kernel client in user-mode Linux mounts them
in turn. Writes what failed where into docs/conformance.md, unless --dry. Ends with 1 if a test fails on Caudal that passes
on the stock server. Takes about two minutes for each version.
"""

import argparse
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

from tests.support import netns, pjdfstest, uml
from tests.support.caudal import Caudal
from tests.support.pjdfstest import Report
from tests.support.processes import ROOT
from tests.support.stock import StockGanesha

PAGE = ROOT / "docs/conformance.md"
Pair = tuple[Report, Report]
"""Caudal's report and the stock server's."""


def compare(directory: Path, versions: list[str]) -> dict[str, Pair]:
    found: dict[str, Pair] = {}
    server = Caudal(directory / "caudal")
    with StockGanesha(directory / "stock-export", directory / "stock") as stock, uml.Client() as client:
        try:
            server.start()
            for version in versions:
                found[version] = (
                    pjdfstest.run(client, server, version),
                    pjdfstest.run(client, stock, version),
                )
        finally:
            server.stop()
    return found


def regressions(found: Mapping[str, Pair]) -> list[str]:
    """What fails here and passes there."""
    return [
        f"{version}: {name}: {ours.failed[name]}"
        for version, (ours, stock) in found.items()
        for name in sorted(ours.failed.keys() & stock.passed)
    ]


def summary(found: Mapping[str, Pair]) -> list[str]:
    lines = [
        "| NFS | Caudal: passed | failed | skipped | stock: passed | failed | skipped |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for version, pair in found.items():
        counts = [f"{len(r.passed)} | {len(r.failed)} | {len(r.skipped)}" for r in pair]
        lines.append(f"| {version} | {' | '.join(counts)} |")
    return lines


def failures(found: Mapping[str, Pair]) -> list[str]:
    """One line for each test that failed anywhere."""
    lines = ["| test | Caudal | stock | why |", "|---|---|---|---|"]
    reasons = {name: reason for name, _, reason in pjdfstest.KNOWN_FAILURES}
    names = sorted({name for pair in found.values() for report in pair for name in report.failed})
    for name in names:
        where = [
            ", ".join(version for version, pair in found.items() if name in pair[side].failed) or "passes"
            for side in (0, 1)
        ]
        lines.append(f"| {name} | {where[0]} | {where[1]} | {reasons.get(name, '')} |")
    return lines


def page(found: Mapping[str, Pair]) -> str:
    about = (
        "The Rust port of pjdfstest (its version is pinned in `tools/setup`), run by a Linux kernel client on Caudal and on "
        "the stock server, nfs-ganesha of Debian 12 with FSAL_VFS on a local directory. `python -m bench.conformance` runs "
        "it again and writes this page; `tests/kernel/test_pjdfstest.py` runs it in `make test`."
    )
    lines = ["# Conformance", "", *textwrap.wrap(about, 120), "", *summary(found), ""]
    lines += ["Tests that failed, and by which versions:", "", *failures(found), ""]
    skipped = sorted({name for pair in found.values() for report in pair for name in report.skipped})
    if skipped:
        lines += textwrap.wrap(
            f"Skipped: {', '.join(skipped)} (the highest link count is more than a test can make).", 120
        )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--versions", default=",".join(uml.VERSIONS))
    parser.add_argument("--dry", action="store_true", help="print, write no page")
    parser.add_argument(
        "--disk", type=Path, default=Path("/var/tmp"), help="where both servers keep their data"
    )
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the servers run in a network of their own, which needs root")
    directory = Path(tempfile.mkdtemp(prefix="caudal-bench.", dir=given.disk))
    try:
        found = compare(directory, given.versions.split(","))
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    print("\n".join([*summary(found), "", *failures(found)]))
    if not given.dry:
        PAGE.write_text(page(found))
        print(f"written into {PAGE.relative_to(ROOT)}")
    if worse := regressions(found):
        sys.exit("\n".join(["fails here, passes on the stock server:", *worse]))


if __name__ == "__main__":
    main()
