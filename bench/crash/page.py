"""The figures of recorded campaigns, and their part of docs/reliability.md."""

import json
import statistics
import textwrap
from collections import Counter
from typing import Any

from bench.crash.campaign import Round
from bench.record import RESULTS, recorded, replace_part
from tests.support.processes import ROOT

PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- crash campaign: written by bench.crash -->", "<!-- end of the crash campaign -->"


def summary(done: list[Round], took_s: float) -> dict[str, Any]:
    """What all rounds came to. A campaign that lost something has none: it ends there."""
    faults = Counter(fault for one in done for fault in one.faults if not fault.startswith("("))
    recoveries = [one.recovery_s for one in done if one.recovery_s is not None]
    operations = sum((one.operations for one in done), Counter[str]())
    return {
        "rounds": len(done),
        "took_s": round(took_s),
        "acknowledged": sum(operations.values()),
        "operations": dict(operations.most_common()),
        "changes_checked": sum(one.checked for one in done),
        "lost": 0,
        "files_read_back": sum(one.files for one in done),
        "bytes_read_back": sum(one.file_bytes for one in done),
        "files_sent_again": sum(one.sent_again for one in done),
        "under_way_found_before": sum(one.under_way[0] for one in done),
        "under_way_found_after": sum(one.under_way[1] for one in done),
        "told_to_come_again": sum(one.waits for one in done),
        "fsck": sum(fault.startswith("(fsck") for one in done for fault in one.faults),
        "faults": dict(faults.most_common()),
        "recoveries": len(recoveries),
        "recovery_median_s": round(statistics.median(recoveries), 2) if recoveries else None,
        "recovery_max_s": max(recoveries, default=None),
    }


def section(record: dict[str, Any]) -> list[str]:
    """Lines about one campaign."""
    found = record["found"]
    faults: Counter[str] = Counter()
    for name, count in found["faults"].items():
        faults["death at a named step" if name.startswith("failpoint") else name.replace("_", " ")] += count
    steps = sum(name.startswith("failpoint") for name in found["faults"])
    text = (
        f"**{found['rounds']} rounds, {found['acknowledged']:,} acknowledged operations, {found['changes_checked']:,} "
        f"changes checked, {found['lost']} lost.** Store: {record['store']}; seed {record['seed']}; "
        f"{record['clients']} clients; {found['took_s'] / 60:.0f} minutes. {found['files_read_back']:,} files "
        f"({found['bytes_read_back'] / 1e9:.1f} GB) were read back and compared, fsck was clean {found['fsck']} times. "
        f"Of the changes under way at a death {found['under_way_found_after']} were there afterwards and "
        f"{found['under_way_found_before']} were not, each of them whole. {found['files_sent_again']} files had uncommitted "
        f"bytes, which the clients sent again. From the death to the first answer over NFS: "
        f"{found['recovery_median_s']} s (median), {found['recovery_max_s']} s (longest), of {found['recoveries']}."
    )
    listed = ", ".join(f"{name} {count}" for name, count in faults.most_common())
    return [
        *textwrap.wrap(text, 120),
        "",
        *textwrap.wrap(f"Faults: {listed} ({steps} different steps).", 120),
        "",
        *recorded(record),
        "",
    ]


def render() -> None:
    """Puts the newest campaign of each store and seed into the page."""
    newest: dict[tuple[str, int], dict[str, Any]] = {}
    for path in sorted(RESULTS.glob("crash-*.json")):
        record = json.loads(path.read_text())
        newest[record["store"], record["seed"]] = record
    lines = [line for record in newest.values() for line in section(record)]
    replace_part(PAGE, BEGIN, END, lines)
