"""How many methods of a file system run at once."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganesha.nfs3_client import NOENT
from tests.ganesha.pyganesha_server import FSALS, Rpcbind, Server, status_of

pytestmark = pytest.mark.ganesha
CLIENTS = 8


@pytest.fixture(autouse=True)
def rpcbind() -> Iterator[None]:
    with Rpcbind():
        yield


@pytest.mark.parametrize("most", [0, 1, 3])
def test_calls_are_bounded(tmp_path: Path, most: int) -> None:
    diary = tmp_path / "diary"
    failures: list[BaseException] = []
    with Server(tmp_path, f"{FSALS}:Counted", f"{most} {diary}") as server:

        def look_up(number: int) -> None:
            try:
                with server.client() as client:
                    # Ganesha lets one at a time look names up in a directory.
                    directory = client.mkdir(client.root, b"%d" % number)
                    for step in range(6):
                        assert status_of(client.lookup, directory, b"%d" % step) == NOENT
            except BaseException as failure:  # noqa: BLE001 - told to the test's own thread
                failures.append(failure)

        threads = [threading.Thread(target=look_up, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    reached = int(diary.read_text())
    assert reached == most if most else reached > 3
