"""What the dashboard makes of sizes and times that people type: a limit that is read wrong would be set wrong."""

import json
import subprocess
from typing import Any

from tests.support.processes import ROOT

NODE = ROOT / ".venv/bin/node"
FORMAT = ROOT / "admin_api/web/src/format.ts"


def evaluated(expression: str) -> Any:
    """A JavaScript expression over the module `f`."""
    program = f"import * as f from {json.dumps(str(FORMAT))}; console.log(JSON.stringify({expression}));"
    command = [str(NODE), "--no-warnings", "--input-type=module", "-e", program]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


SIZES = {
    "500 GiB": 500 << 30,
    "1.5TB": 1_500_000_000_000,
    "4096": 4096,
    "64k": 64_000,
    " 2 mib ": 2 << 20,
    "0": 0,
    "12B": 12,
    "": None,
    "-1": None,
    "1e9": None,
    "many": None,
    "1 GiB 2": None,
}
TIMES = {"30s": 30, "15 min": 900, "2h": 7200, "7d": 604800, "90": 90, "0.5h": 1800, "": None, "1w": None}


def test_sizes_and_times_are_read_as_they_are_meant() -> None:
    texts, moments = json.dumps(list(SIZES)), json.dumps(list(TIMES))
    assert evaluated(f"[{texts}.map(f.parseBytes), {moments}.map(f.parseSeconds)]") == [
        list(SIZES.values()),
        list(TIMES.values()),
    ]


def test_what_a_form_shows_is_read_back_exactly() -> None:
    numbers = [1, 1023, 1024, 1025, 1 << 30, (1 << 30) + 1, 3 << 40, 1_000_000_000, 2**53 - 1]
    assert evaluated(f"{numbers}.map(one => f.parseBytes(f.exactBytes(one)))") == numbers


FIGURES = {
    "bytes(0)": "0 B",
    "bytes(1024)": "1 KiB",
    "bytes(1536 * 1024)": "1.5 MiB",
    "bytes(null)": "–",
    "latency(250)": "250 µs",
    "latency(5767)": "5.77 ms",
    "share(0.0004)": "< 0.1 %",
    "share(0.999)": "99.9 %",
    "share(1)": "100 %",
    "duration(0.55)": "0.6 s",
    "duration(7200)": "2 h",
    "money(0, 'EUR')": "€0.00",
    "money(0.00001, 'EUR')": "< €0.0001",
    "money(1234.5, 'USD')": "$1,234.50",
}


def test_figures_have_units() -> None:
    calls = ", ".join(f"f.{call}" for call in FIGURES)
    assert evaluated(f"[{calls}]") == list(FIGURES.values())
