"""Records of measurements: when, where, of what and by which command, beside the figures."""

import json
import os
import platform
import shlex
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

RESULTS = ROOT / "bench/results"
Record = dict[str, Any]


def machine() -> Record:
    """What the figures depend on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / 2**20),
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
    }


def commit() -> str:
    """What was measured; "-dirty" behind it says that the tree had changes that are not in the commit."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def save(kind: str, module: str, about: Record, **figures: Any) -> Path:
    """Writes bench/results/KIND-DATE.json. `about` is `machine()` from before the measurement; `module` was run with the
    arguments of this process.
    """
    now = datetime.now(UTC)  # noqa: TID251 - the date of the record
    record = {
        "date": f"{now:%Y-%m-%d %H:%M} UTC",
        "commit": commit(),
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "machine": about,
        **figures,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{kind}-{now:%Y%m%d-%H%M}.json"
    if path.exists():
        # Another run ended in the same minute.
        path = RESULTS / f"{kind}-{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def newest(kind: str) -> Path | None:
    """The last record of a kind."""
    return max(RESULTS.glob(f"{kind}-*.json"), default=None)


def recorded(record: Record) -> list[str]:
    """The sentence that every page of figures owes its reader, in lines."""
    hardware = record["machine"]
    rounds = f", {record['rounds']} rounds" if "rounds" in record else ""
    text = (
        f"Recorded {record['date']} at commit {record['commit']} by `{record['command']}`{rounds}, on "
        f"{hardware['cores']} cores of {hardware['cpu']}, {hardware['memory_gib']} GiB, Linux {hardware['kernel']}."
    )
    return textwrap.wrap(text, 120)


def replace_part(page: Path, begin: str, end: str, lines: list[str]) -> None:
    """Writes lines between two marks of a page."""
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text("\n".join([f"{before}{begin}", "", *lines, f"{end}{after}"]))
