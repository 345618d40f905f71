"""What many small files cost in requests to the store: they are what each request is paid for."""

from collections.abc import Callable

from bench import compare
from tests.support.caudal import Caudal

TOGETHER = 1000
STREAM = 6000
FILES_A_PUT = 200


def objects(server: Caudal) -> dict[str, int]:
    return server.status()["objects"]


def test_files_written_together_are_read_together(caudal: Callable[..., Caudal]) -> None:
    """A thousand files of 4 KiB, from a server that has just started: 60 GETs at most."""
    server = caudal().start()
    size = ["conns=1", f"files={TOGETHER}", "fsize=4096"]
    assert compare.once(server.url, "create", size, "together")["errors"] == 0
    server.flush()
    assert objects(server)["puts"] <= TOGETHER // FILES_A_PUT
    server.cli("cache", "drop")
    server.stop()
    server.start()
    before = objects(server)["gets"]
    read = compare.once(server.url, "checkfiles", size, "together")
    assert (read["errors"], read["ops"]) == (0, TOGETHER)
    assert 0 < objects(server)["gets"] - before <= 60


def test_a_stream_of_small_files_makes_few_packs(caudal: Callable[..., Caudal]) -> None:
    """The flush runs all the while: what comes of age meanwhile shares packs."""
    server = caudal(options=("--flush-age-s", "4")).start()
    size = ["conns=2", f"files={STREAM // 2}", "fsize=4096"]
    assert compare.once(server.url, "create", size, "stream")["errors"] == 0
    server.flush()
    puts = objects(server)["puts"]
    assert 0 < puts <= STREAM // FILES_A_PUT
