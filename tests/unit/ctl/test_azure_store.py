"""The Azure store keeps the contract against a real Azurite and explains what goes wrong."""

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from gateway._core import KeyRing, PackStore
from gateway.errors import CaudalError, Reason, StartError
from gateway.objects import core_options, keys, open_root_store
from gateway.objects.azure import AzureRootStore
from gateway.objects.container import RootStore
from gateway.objects.credentials import azure_credentials
from gateway.objects.epoch import read_record
from gateway.objects.key_file import KeyFile
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.processes import free_port
from tests.unit.ctl.contract import FS_ID, Place, RootStoreContract

pytestmark = pytest.mark.azurite
_numbers = itertools.count(1)


@pytest.fixture
def container() -> str:
    return f"root-{next(_numbers)}"


class TestAzure(RootStoreContract):
    @pytest.fixture(params=["", "team/a"])
    def prefix(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def store(self, azurite: Azurite, container: str, prefix: str) -> Iterator[RootStore]:
        opened = open_root_store(f"az://{container}/{prefix}", azurite.environment)
        yield opened
        opened.close()

    @pytest.fixture
    def twin(self, azurite: Azurite, container: str, prefix: str) -> Iterator[RootStore]:
        opened = AzureRootStore(azure_credentials(azurite.environment), container, prefix)
        yield opened
        opened.close()


def test_prefixes_of_one_container_are_stores_of_their_own(
    azurite: Azurite, container: str, tmp_path: Path
) -> None:
    for number, prefix in enumerate(("", "/a", "/a/b")):
        store = open_root_store(f"az://{container}{prefix}", azurite.environment)
        assert store.url == f"az://{container}{prefix}"
        assert read_record(store) is None
        assert Place(tmp_path / str(number)).take(store).epoch == 1
        store.close()


def test_a_container_remembers_its_keys(azurite: Azurite, container: str) -> None:
    ring = KeyRing(FS_ID, [("old", bytes(32))])
    url = f"az://{container}/team/a"
    roots = open_root_store(url, azurite.environment)
    roots.create()
    roots.close()
    store = PackStore(url, core_options(url, azurite.environment), ring)
    assert keys.needed(store) == {}
    file = KeyFile(Path("file"), (("new", bytes([1]) * 32), ("old", bytes(32))), seals=True)
    for _ in range(2):
        keys.remember(store, ring)
    assert store.put_object("backup/1", ring.seal(b"rows", "backup/1"))
    assert not store.put_object("backup/1", b"another")
    ring.replace(file.keys)
    keys.remember(store, ring)
    assert set(keys.needed(store)) == {"old", "new"}
    keys.check(store, file, ring)
    with pytest.raises(StartError, match="it needs the key new"):
        keys.check(store, None, None)
    assert keys.in_use(store) == {"old": 1}
    with pytest.raises(CaudalError, match="1 objects in the store are sealed with the key old"):
        keys.check_retirable(store, "old")
    keys.check_retirable(store, "new")
    store.delete_object("backup/1")
    keys.forget(store, "old")
    assert set(keys.needed(store)) == {"new"}
    assert keys.in_use(store) == {}


def _refusal(env: dict[str, str], state: Path) -> StartError:
    store = open_root_store("az://container", env)
    with pytest.raises(StartError) as caught:
        Place(state).take(store)
    store.close()
    return caught.value


def _signed(azurite: Azurite, container: str) -> dict[str, str]:
    """The environment for a signature that reads and writes blobs of one container, and nothing else."""
    signature = generate_container_sas(
        ACCOUNT,
        container,
        account_key=KEY,
        permission=ContainerSasPermissions(read=True, write=True, create=True, list=True, delete=True),
        expiry=datetime(2100, 1, 1, tzinfo=UTC),
    )
    text = f"BlobEndpoint={azurite.endpoint};SharedAccessSignature={signature}"
    return {"AZURE_STORAGE_CONNECTION_STRING": text}


def test_a_signature_for_one_container_is_enough(azurite: Azurite, container: str, tmp_path: Path) -> None:
    owner = open_root_store(f"az://{container}", azurite.environment)
    owner.create()
    owner.close()
    store = open_root_store(f"az://{container}/team", _signed(azurite, container))
    assert Place(tmp_path / "a").take(store).epoch == 1
    store.close()
    absent = open_root_store(f"az://{container}-absent", _signed(azurite, f"{container}-absent"))
    with pytest.raises(StartError, match=r"does not exist, and the credential may not make it") as caught:
        Place(tmp_path / "b").take(absent)
    absent.close()
    assert caught.value.reason is Reason.STORE_REFUSED


def test_a_wrong_key_is_told(azurite: Azurite, tmp_path: Path) -> None:
    env = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string.replace("Eby8", "AAAA")}
    found = _refusal(env, tmp_path / "state")
    assert found.reason is Reason.STORE_REFUSED
    assert "refused the credential" in found.message
    assert "clock" in found.hint


def test_an_endpoint_that_nobody_serves_is_told_soon(tmp_path: Path) -> None:
    text = f"AccountName=acme;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:{free_port()}/acme"
    began_s = time.monotonic()
    found = _refusal({"AZURE_STORAGE_CONNECTION_STRING": text}, tmp_path / "state")
    assert found.reason is Reason.STORE_UNREACHABLE
    assert "cannot be reached at http://127.0.0.1" in found.message
    assert time.monotonic() - began_s < 20
