"""Keys wrapped by Azure Key Vault: the file alone holds no secret, and what the vault says is told with what to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Reason, StartError
from gateway.objects import key_file, vault
from gateway.objects.key_file import read_key_file
from gateway.objects.vault import Wrapped
from tests.support.fake_vault import FakeVault

SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeVault]:
    with FakeVault(tmp_path_factory.mktemp("vault")) as azure:
        yield azure


@pytest.fixture
def fake(azure: FakeVault, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVault]:
    for name, value in azure.env.items():
        monkeypatch.setenv(name, value)
    yield azure
    azure.refuse = None


def test_a_file_of_wrapped_keys(fake: FakeVault, tmp_path: Path) -> None:
    path = tmp_path / "the.keys"
    key_file.create(path, "key-1", vault.wrap(SECRET, fake.url))
    assert SECRET.hex() not in path.read_text()
    first = read_key_file(path)
    assert (first.keys, first.current, first.vault_key) == ((("key-1", SECRET),), "key-1", fake.url)
    # Beside one that lies there plainly.
    key_file.add(first, None, lambda: bytes(32))
    both = read_key_file(path)
    assert both.keys == (("key-2", bytes(32)), ("key-1", SECRET))
    assert both.vault_key is None
    # The vault's key gets a new version: the old one opens until the file is wrapped anew.
    newest = fake.new_version()
    assert read_key_file(path).keys == both.keys
    key_file.replace(both, {key_id: vault.wrap(secret, fake.url) for key_id, secret in both.keys})
    again = read_key_file(path)
    assert again.keys == both.keys
    assert {wrapped.url for wrapped in again.wrapped.values()} == {f"{fake.url}/{newest}"}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("status", "hint"),
    [(403, "grant the identity"), (404, "restore the key"), (400, "must be an RSA key, enabled")],
)
def test_what_the_vault_refuses(fake: FakeVault, status: int, hint: str) -> None:
    wrapped = vault.wrap(SECRET, fake.url)
    fake.refuse = status
    with pytest.raises(StartError) as caught:
        vault.unwrap(wrapped)
    assert caught.value.reason == Reason.KEY_UNUSABLE
    assert hint in caught.value.hint
    assert fake.url in caught.value.message


def test_other_bytes_than_were_wrapped(fake: FakeVault, tmp_path: Path) -> None:
    wrapped = vault.wrap(SECRET, fake.url)
    damaged = Wrapped(wrapped.url, wrapped.algorithm, bytes([wrapped.data[0] ^ 1]) + wrapped.data[1:])
    with pytest.raises(StartError, match="does not unwrap"):
        vault.unwrap(damaged)
    path = tmp_path / "the.keys"
    key_file.create(path, "key-1", vault.wrap(b"short", fake.url))
    with pytest.raises(StartError, match="not 32 bytes when unwrapped"):
        read_key_file(path)


def test_nobody_is_asked_for_what_is_no_key_of_a_vault(fake: FakeVault) -> None:
    before = len(fake.asked)
    for wrong in (
        "http://127.0.0.1/keys/a",
        "https://v.example",
        "https://u@v/keys/a",
        "https://v/secrets/a",
        "v",
    ):
        with pytest.raises(StartError, match="is no key of Azure Key Vault"):
            vault.wrap(SECRET, wrong)
    assert len(fake.asked) == before


def test_no_identity(fake: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = vault.wrap(SECRET, fake.url)
    monkeypatch.setenv("IDENTITY_HEADER", "of another machine")
    with pytest.raises(StartError) as caught:
        vault.unwrap(wrapped)
    assert "managed identity" in caught.value.hint


@given(
    st.from_regex(
        r"[a-z0-9.-]{1,20}(:[0-9]{1,4})?/keys/[0-9A-Za-z-]{1,10}(/[0-9A-Za-z]{1,32})?", fullmatch=True
    ),
    st.binary(max_size=600),
)
def test_what_is_written_is_read(path: str, data: bytes) -> None:
    wrapped = Wrapped(f"https://{path}", vault.ALGORITHM, data)
    found = Wrapped.parse(str(wrapped))
    # Nothing wrapped is no value.
    assert found == (wrapped if data else None)


@given(st.text(max_size=200))
def test_any_text_is_a_wrapped_key_or_none(text: str) -> None:
    found = Wrapped.parse(text)
    assert found is None or Wrapped.parse(str(found)) == found
