"""What all tests share: a network of their own, Azurite, servers and real clients."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import netns, uml
from tests.support.azurite import Azurite
from tests.support.caudal import Caudal, undisturbed
from tests.support.stock import StockGanesha

# Slow kinds come last, so that a mistake shows early.
ORDER = ("unit", "simulation", "ganesha", "kernel", "web", "crash", "image")


def pytest_configure(config: pytest.Config) -> None:
    """First of all the run moves into a network of its own; where workers share the tests, each of them does, and the
    process that hands them out stays where it is.
    """
    hands_out = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not hands_out:
        netns.enter()


def pytest_unconfigure() -> None:
    netns.leave_nobody()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by their folder and puts quick kinds first."""

    def kind(item: pytest.Item) -> str:
        parts = item.path.relative_to(Path(__file__).parent).parts
        return parts[0] if parts[0] in ORDER else ORDER[0]

    for item in items:
        if kind(item) != "unit":
            item.add_marker(kind(item))
    items.sort(key=lambda item: ORDER.index(kind(item)))


@pytest.fixture(scope="session")
def private_network() -> None:
    """For tests that start servers."""
    if not netns.entered():
        pytest.fail("this test starts servers in a network of its own and needs root")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """One emulator for the run; tests take containers of their own in it."""
    with Azurite(tmp_path_factory.mktemp("azurite") / "azurite.log") as running:
        yield running


def _on_disk() -> Path:
    """An empty directory on a disk, not in memory: what is in it is fsynced in earnest."""
    return Path(tempfile.mkdtemp(prefix="caudal-test.", dir=os.environ.get("TEST_DISK", "/var/tmp")))


@pytest.fixture
def disk_path() -> Iterator[Path]:
    path = _on_disk()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def module_disk_path() -> Iterator[Path]:
    path = _on_disk()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def caudal(private_network: None, disk_path: Path) -> Iterator[Callable[..., Caudal]]:
    """Makes servers, which the test starts."""
    with undisturbed(disk_path) as make:
        yield make


@pytest.fixture(scope="module")
def shared(private_network: None, module_disk_path: Path) -> Iterator[Caudal]:
    """A running server on a directory store that the tests of a module share; each takes a directory of its own in it."""
    with undisturbed(module_disk_path) as make:
        yield make().start()


@pytest.fixture
def served(caudal: Callable[..., Caudal]) -> Caudal:
    """A running server on a directory store."""
    return caudal().start()


@pytest.fixture
def stock(private_network: None, disk_path: Path) -> Iterator[StockGanesha]:
    """The stock server on a directory, running."""
    with StockGanesha(disk_path / "export", disk_path / "stock") as running:
        yield running


@pytest.fixture(scope="session")
def client(private_network: None) -> Iterator[uml.Client]:
    """A kernel NFS client, booted once for the run."""
    with uml.Client() as running:
        yield running
