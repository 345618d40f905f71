"""What the processes of a server hold, again and again: memory, threads, descriptors."""

import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.caudal import PROCESSES, Caudal


@dataclass(frozen=True)
class Held:
    """One process at one moment. Memory in MiB: all that is resident, and what of it is no file's."""

    at_s: float
    process: str
    pid: int
    rss: float
    anonymous: float
    threads: int
    descriptors: int


def held(process: str, pid: int, at_s: float) -> Held | None:
    """None when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    if "VmRSS" not in fields:
        return None
    return Held(
        round(at_s, 2),
        process,
        pid,
        round(int(fields["VmRSS"][0]) / 1024, 2),
        round(int(fields["RssAnon"][0]) / 1024, 2),
        int(fields["Threads"][0]),
        descriptors,
    )


def now(server: Caudal, at_s: float = 0.0) -> list[Held]:
    """All processes of a server that run."""
    found = [held(name, pid, at_s) for name in PROCESSES if (pid := server.pid(name))]
    return [one for one in found if one is not None]


class Sampler:
    """Samples a server until the block ends; `phase` names what goes on from now."""

    def __init__(self, server: Caudal, interval_s: float = 1.0) -> None:
        self.samples: list[Held] = []
        self.phases: list[tuple[float, str]] = []
        self._server, self._interval_s = server, interval_s
        self._began_s = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    @property
    def at_s(self) -> float:
        return time.monotonic() - self._began_s

    def phase(self, name: str) -> None:
        self.phases.append((round(self.at_s, 2), name))

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.samples += now(self._server, self.at_s)

    def of(self, process: str, since_s: float = 0.0, until_s: float = float("inf")) -> list[Held]:
        return [one for one in self.samples if one.process == process and since_s <= one.at_s <= until_s]

    def record(self) -> dict[str, Any]:
        return {"phases": self.phases, "samples": [list(asdict(one).values()) for one in self.samples]}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Least squares: by how much the second rises for each unit of the first; 0 for fewer than two points."""
    pairs = list(points)
    count = len(pairs)
    if count < 2:
        return 0.0
    mean_x = sum(x for x, _ in pairs) / count
    mean_y = sum(y for _, y in pairs) / count
    spread = sum((x - mean_x) ** 2 for x, _ in pairs)
    return sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread if spread else 0.0
