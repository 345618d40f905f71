"""The running server's data path needs no Python lock: reads of warm data, writes and COMMITs go on without it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.caudal import Caudal
from tests.support.processes import ROOT, wait_until

HOLD_S = 1.5
# What a single operation may take on a busy machine. With the lock needed, one would take what is left of HOLD_S.
LONGEST_S = 0.5
SIZE = 1 << 20


def hold(order: Path) -> None:
    """Has the server's Python lock held for HOLD_S from now on."""
    order.with_suffix(".new").write_text(str(HOLD_S))
    order.with_suffix(".new").rename(order)
    wait_until(lambda: not order.exists(), "the server took the order", 10, interval_s=0.001)


def worst_s(work: Callable[[], None], until: float) -> tuple[float, int]:
    """Does the work again and again: (longest time one took, how often)."""
    worst, count = 0.0, 0
    while (began := time.monotonic()) < until:
        work()
        worst, count = max(worst, time.monotonic() - began), count + 1
    return worst, count


def start(caudal: Callable[..., Caudal], disk_path: Path) -> tuple[Caudal, Path]:
    order = disk_path / "hold"
    hook = ROOT / "tests/support/hold_gil"
    server = caudal(env={"HOLD_GIL_ORDER": str(order), "PYTHONPATH": str(hook)})
    return server.start(), order


def test_reads_writes_and_commits_go_on_while_python_is_held(
    caudal: Callable[..., Caudal], disk_path: Path
) -> None:
    server, order = start(caudal, disk_path)
    with server.connect() as client:
        data = bytes(range(256)) * (SIZE // 256)
        client.write_file("/warm", data)
        assert client.read_file("/warm") == data
        with client.open("/warm", 2) as file:
            file.pwrite(b"x" * 4096, 0)
            file.fsync()
            assert file.pread(4096, 0) == b"x" * 4096

            hold(order)
            until = time.monotonic() + HOLD_S * 0.8

            def work() -> None:
                assert file.pread(4096, 8192) == data[8192:12288]
                file.pwrite(b"y" * 4096, 4096)
                file.fsync()

            worst, count = worst_s(work, until)
        assert count > 20, f"only {count} rounds in {HOLD_S * 0.8:.1f} s"
        assert worst < LONGEST_S, f"an operation took {worst:.3f} s while Python was held"


def test_the_hook_holds_what_it_says(caudal: Callable[..., Caudal], disk_path: Path) -> None:
    """A name operation needs Python, so it waits: otherwise the test above shows nothing."""
    server, order = start(caudal, disk_path)
    with server.connect() as client:
        client.mkdir("/before")
        took: list[float] = []

        def make() -> None:
            began = time.monotonic()
            client.mkdir("/during")
            took.append(time.monotonic() - began)

        hold(order)
        worker = threading.Thread(target=make)
        worker.start()
        worker.join(30)
    assert took, "no directory was made"
    assert took[0] > HOLD_S * 0.6, f"a directory was made in {took} s although Python was held"
