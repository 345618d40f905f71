"""The directory store keeps the contract, also among processes, and explains what the operating system
refuses.
"""

import multiprocessing
from pathlib import Path

import pytest

from gateway.errors import Reason, StartError
from gateway.objects import core_options, open_root_store
from gateway.objects.directory import DirectoryRootStore
from gateway.objects.epoch import take_epoch
from tests.unit.ctl.contract import FRESH, OURS, RootStoreContract


class TestDirectory(RootStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> DirectoryRootStore:
        return DirectoryRootStore(tmp_path / "box")

    @pytest.fixture
    def twin(self, tmp_path: Path) -> DirectoryRootStore:
        return DirectoryRootStore(tmp_path / "box")


def _take(arguments: tuple[str, int]) -> int:
    path, number = arguments
    return take_epoch(DirectoryRootStore(path), OURS, f"process-{number}")


def test_epochs_raced_by_processes_are_all_different(tmp_path: Path) -> None:
    take_epoch(DirectoryRootStore(tmp_path), FRESH, "first")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        taken = pool.map(_take, [(str(tmp_path), number) for number in range(12)], chunksize=1)
    assert sorted(taken) == list(range(2, 14))


def test_opened_by_url(tmp_path: Path) -> None:
    store = open_root_store(f"file://{tmp_path}/box", {})
    assert store.url == f"file://{tmp_path}/box"
    assert take_epoch(store, FRESH, "a") == 1
    assert (tmp_path / "box/caudal/root.json").exists()
    assert core_options(store.url, {"AZURE_STORAGE_ACCOUNT": "unused"}) == {}


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (13, Reason.STORE_REFUSED),
        (30, Reason.STORE_REFUSED),
        (28, Reason.NO_SPACE),
        (5, Reason.STORE_UNREACHABLE),
    ],
)
def test_errors_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: Reason
) -> None:
    def refuse(_self: Path) -> bytes:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StartError) as caught:
        DirectoryRootStore(tmp_path).read_root()
    assert caught.value.reason is reason
    assert str(tmp_path) in caught.value.message


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "box").touch()
    with pytest.raises(StartError, match="cannot be reached") as caught:
        take_epoch(DirectoryRootStore(tmp_path / "box"), FRESH, "a")
    assert caught.value.reason is Reason.STORE_UNREACHABLE
