"""Byte-range locks between two kernel clients, and what becomes of them when a server or a client dies."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.conftest import mount
from tests.support import uml
from tests.support.caudal import Caudal, undisturbed

TOOL = Path(__file__).with_name("lock_tool.py")
# A Linux client renews its lease every two thirds of it, but not more often than every 5 s.
LEASE = ("--lease-s", "12", "--grace-s", "12")
_numbers = count()


@pytest.fixture(scope="module")
def shared(private_network: None, module_disk_path: Path) -> Iterator[Caudal]:
    with undisturbed(module_disk_path) as make:
        yield make(options=LEASE).start()


class Lock:
    """One process with a lock on a client, or waiting for one."""

    def __init__(
        self, client: uml.Client, command: str, file: str, kind: str, start: int, length: int
    ) -> None:
        self._client = client
        self._until = f"/run/until-{next(_numbers)}"
        self._process = client.start_command(
            f"python3 {TOOL} {command} {file} {kind} {start} {length} {self._until}"
        )

    def says(self, word: str, timeout_s: float = 60) -> None:
        uml.wait_until(lambda: word in self._process.output(), f"the process says {word!r}", timeout_s)

    def has(self, word: str) -> bool:
        return word in self._process.output()

    def let_go(self) -> None:
        """Raises CommandFailed where the lock was lost."""
        self._client.run(f"touch {self._until}")
        assert "kept" in self._process.wait(120).output


def tries(client: uml.Client, file: str, kind: str, start: int, length: int) -> bool:
    """Whether a process gets the lock at once."""
    said = client.run(f"python3 {TOOL} try {file} {kind} {start} {length}", 120).output.split()
    assert said in (["asks", "held"], ["asks", "busy"])
    return said[-1] == "held"


@pytest.fixture(params=uml.DISTINCT)
def file(
    request: pytest.FixtureRequest, client: uml.Client, second: uml.Client, shared: Caudal
) -> Iterator[tuple[str, str]]:
    """A file, by its path on either client."""
    version = str(request.param)
    points = [mount(each, shared, version) for each in (client, second)]
    name = f"{request.node.originalname}-{version}"
    client.run(f"echo data >{points[0]}/{name}")
    yield f"{points[0]}/{name}", f"{points[1]}/{name}"
    for each, point in zip((client, second), points, strict=True):
        each.unmount(point)


def test_ranges_and_kinds(client: uml.Client, second: uml.Client, file: tuple[str, str]) -> None:
    here, there = file
    mine = Lock(client, "hold", here, "write", 10, 10)
    mine.says("held")
    for start, length, gets in ((0, 10, True), (0, 11, False), (15, 1, False), (20, 0, True), (0, 0, False)):
        assert tries(second, there, "write", start, length) == gets, (start, length)
        assert tries(second, there, "read", start, length) == gets, (start, length)
    mine.let_go()
    readers = [Lock(client, "hold", here, "read", 0, 0), Lock(second, "hold", there, "read", 0, 100)]
    for each in readers:
        each.says("held")
    assert tries(second, there, "read", 0, 0)
    assert not tries(second, there, "write", 50, 1)
    # Beyond what 32 bits number.
    far = 1 << 40
    assert not tries(second, there, "write", far, 1), "a lock to the end reaches there"
    readers[0].let_go()
    assert tries(second, there, "write", far, 1)
    readers[1].let_go()


def test_waiting(client: uml.Client, second: uml.Client, file: tuple[str, str]) -> None:
    here, there = file
    mine = Lock(client, "hold", here, "write", 0, 0)
    mine.says("held")
    waiting = [Lock(second, "wait", there, "write", 0, 10), Lock(second, "wait", there, "write", 10, 10)]
    for each in waiting:
        each.says("asks")
    assert not tries(second, there, "read", 5, 1)
    assert not any(each.has("held") for each in waiting)
    mine.let_go()
    for each in waiting:
        each.says("held", 120)
    assert not tries(client, here, "write", 5, 10)
    for each in waiting:
        each.let_go()
    assert tries(client, here, "write", 0, 0)


def test_a_killed_server_gives_the_locks_back_to_their_holders(
    client: uml.Client, second: uml.Client, caudal: Callable[..., Caudal]
) -> None:
    server = caudal(options=LEASE).start()
    versions = uml.VERSIONS[1:]
    here = {version: f"{mount(client, server, version)}/f{version}" for version in versions}
    there = {version: f"{mount(second, server, version)}/f{version}" for version in versions}
    held: dict[str, Lock] = {}
    for version in versions:
        client.run(f"echo data >{here[version]}")
        held[version] = Lock(client, "hold", here[version], "write", 0, 0)
        held[version].says("held")
    server.wait_restarted(server.kill_server())
    # At once, in the grace: they have to wait for its end, and then find the locks held.
    for version in versions:
        assert not tries(second, there[version], "write", 0, 1), version
    for version in versions:
        held[version].let_go()
        assert tries(second, there[version], "write", 0, 1), version
    for each, paths in ((client, here), (second, there)):
        for path in paths.values():
            each.unmount(path.rpartition("/")[0])


def test_the_locks_of_a_client_without_power_end_with_its_lease(client: uml.Client, shared: Caudal) -> None:
    files: dict[str, str] = {}
    with uml.Client(memory_mib=256) as doomed:
        for version in ("4.0", "4.2"):
            here, there = mount(client, shared, version), mount(doomed, shared, version)
            files[version] = f"{here}/power-{version}"
            client.run(f"echo data >{files[version]}")
            Lock(doomed, "hold", f"{there}/power-{version}", "write", 0, 0).says("held")
            assert not tries(client, files[version], "read", 0, 1)
        doomed.stop()
    for path in files.values():
        waiting = Lock(client, "wait", path, "write", 0, 0)
        waiting.says("held", 120)
        waiting.let_go()
        client.unmount(path.rpartition("/")[0])
