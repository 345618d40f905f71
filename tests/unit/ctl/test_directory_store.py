"""The directory store keeps the contract, and explains what the operating system
refuses.
"""

from pathlib import Path

import pytest

from gateway.errors import Reason, StartError
from gateway.objects import core_options, open_root_store
from gateway.objects.directory import DirectoryRootStore
from tests.unit.ctl.contract import Place, RootStoreContract


class TestDirectory(RootStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> DirectoryRootStore:
        return DirectoryRootStore(tmp_path / "box")

    @pytest.fixture
    def twin(self, tmp_path: Path) -> DirectoryRootStore:
        return DirectoryRootStore(tmp_path / "box")


def test_opened_by_url(tmp_path: Path) -> None:
    store = open_root_store(f"file://{tmp_path}/box", {})
    assert store.url == f"file://{tmp_path}/box"
    assert Place(tmp_path / "state").take(store).epoch == 1
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
        Place(tmp_path / "state").take(DirectoryRootStore(tmp_path / "box"))
    assert caught.value.reason is Reason.STORE_UNREACHABLE
