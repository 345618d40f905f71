"""What the admin service costs, and how soon it answers under load: python -m bench.admin [--rounds 5] [--dry]

Two servers on the same disk take the same NFS load in turn, one with the admin service beside it and one without. While the
load runs on the first, its status is asked every second, as a dashboard does: that is the cost. Then status and metrics are
asked again and again under each load: that is the time to an answer. Before, the service's own CPU time and memory while
nobody asks.

Needs root. Figures go into bench/results/admin-DATE.json and docs/admin.md. Nothing is asserted here.
"""

import argparse
import json
import shutil
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from bench import compare
from bench.compare import Figures, Rows
from bench.profile import cpu_s
from bench.record import machine, recorded, replace_part, save
from gateway.processes import PROMPT_NICE
from tests.support import netns
from tests.support.caudal import Caudal
from tests.support.processes import ROOT

PAGE = ROOT / "docs/admin.md"
BEGIN, END = "<!-- figures: written by bench.admin -->", "<!-- end of figures -->"
OPTIONS = ("--l1-bytes", "512MiB", "--dirty-memory-bytes", "256MiB", "--l2-bytes", "0")
# Each finds the files of those before it.
MODES = ("write", "randwrite", "read", "randread", "create", "stat")
ASKED = ("status", "metrics")
EXTRA = ("size=256M", "files=2000")
ASK_EVERY_S = 1.0
PROBE_PAUSE_S = 0.05
IDLE_S = 30.0


class Service:
    """The admin service of a server, as a program with a token asks it."""

    def __init__(self, server: Caudal) -> None:
        self.pid = int((server.state / "run/admin.pid").read_text())
        token = server.cli("token", "create", "--name", "bench", "--role", "viewer").splitlines()[-1]
        self._client = httpx.Client(
            base_url=f"https://localhost:{server.admin_port}/v1/",
            verify=ssl.create_default_context(cafile=str(server.state / "admin/tls.crt")),
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )

    def ask(self, what: str) -> float:
        """Returns how many ms the answer took."""
        began_s = time.perf_counter()
        self._client.get(what).raise_for_status()
        return (time.perf_counter() - began_s) * 1000

    def idle(self) -> dict[str, float]:
        before_s = cpu_s(self.pid)
        time.sleep(IDLE_S)
        rss = next(
            line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmRSS" in line
        )
        return {
            "cpu_fraction": (cpu_s(self.pid) - before_s) / IDLE_S,
            "rss_mib": int(rss.split()[1]) / 1024,
        }

    @contextmanager
    def asked_meanwhile(self) -> Iterator[None]:
        """Its status, once a second."""
        ending = threading.Event()

        def asking() -> None:
            while not ending.wait(ASK_EVERY_S):
                self.ask("status")

        thread = threading.Thread(target=asking)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()


def cost(beside: Caudal, alone: Caudal, service: Service, rounds: int) -> Rows:
    rows: Rows = {}
    for number in range(rounds):
        for mode in MODES:
            pair: dict[str, Figures] = {}
            for side in ("beside", "alone") if number % 2 == 0 else ("alone", "beside"):
                folder = f"admin{number}"
                if side == "alone":
                    pair[side] = compare.once(alone.url, mode, EXTRA, folder)
                else:
                    with service.asked_meanwhile():
                        pair[side] = compare.once(beside.url, mode, EXTRA, folder)
            rows.setdefault(mode, []).append((pair["beside"], pair["alone"]))
            ratio = compare.ratio(mode, pair["beside"], pair["alone"])
            print(f"  round {number + 1} {mode:<10} {ratio:.3f}", flush=True)
    return rows


def answers(server: Caudal, service: Service) -> dict[str, dict[str, list[float]]]:
    """For each load and each thing that is asked: the times to an answer in ms."""
    found: dict[str, dict[str, list[float]]] = {}
    for mode in MODES:
        times: dict[str, list[float]] = {what: [] for what in ASKED}
        load = threading.Thread(target=compare.once, args=(server.url, mode, EXTRA, "answers"))
        load.start()
        while load.is_alive():
            for what in ASKED:
                times[what].append(service.ask(what))
                time.sleep(PROBE_PAUSE_S)
        load.join()
        found[mode] = times
    return found


def ask_first() -> None:
    """Who asks does not wait for a processor behind the load, which would come from other machines."""
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(PROMPT_NICE))


def quantile(times: list[float], fraction: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * fraction))]


def section(record: dict[str, Any]) -> list[str]:
    idle = record["idle"]
    lines = [
        f"While nobody asks, the service takes {idle['cpu_fraction']:.2%} of a core and {idle['rss_mib']:.0f} MiB.",
        "",
        "| load | with / without the service | of each round |",
        "|---|---:|---|",
    ]
    ratios: list[float] = []
    for mode, pairs in record["rows"].items():
        each = [compare.ratio(mode, a, b) for a, b in pairs]
        ratios += each
        lines.append(f"| {mode} | {statistics.median(each):.2f} | {' '.join(f'{one:.2f}' for one in each)} |")
    lines += [
        "",
        f"Median of all {len(ratios)} ratios: {statistics.median(ratios):.3f}.",
        f"The service took {record['admin_cpu_fraction']:.2%} of a core meanwhile.",
        "",
        "| asked | answers | p50 | p99 | longest |",
        "|---|---:|---:|---:|---:|",
    ]
    for what in ASKED:
        times = [one for by in record["answers"].values() for one in by[what]]
        p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
        lines.append(
            f"| {what} under load | {len(times)} | {p50:.1f} ms | {p99:.1f} ms | {max(times):.1f} ms |"
        )
    return [*lines, "", *recorded(record), ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the servers run in a network of their own, which needs root")
    ask_first()
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-admin.", dir=given.disk))
    try:
        with ExitStack() as stack:
            beside = Caudal(directory / "beside", options=OPTIONS, admin=True)
            alone = Caudal(directory / "alone", options=OPTIONS)
            for server in (beside, alone):
                stack.callback(server.stop)
                server.start()
            service = Service(beside)
            idle = service.idle()
            before_s, began_s = cpu_s(service.pid), time.monotonic()
            rows = cost(beside, alone, service, given.rounds)
            used = (cpu_s(service.pid) - before_s) / (time.monotonic() - began_s)
            figures = {"idle": idle, "rows": rows, "admin_cpu_fraction": used}
            figures["answers"] = answers(beside, service)
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    if given.dry:
        record = {"date": "now", "commit": "this", "command": "", "machine": about, **figures}
        print("\n".join(section(record)))
        return
    path = save("admin", "bench.admin", about, rounds=given.rounds, **figures)
    replace_part(PAGE, BEGIN, END, section(json.loads(path.read_text())))
    print(f"recorded in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
