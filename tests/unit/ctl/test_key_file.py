"""The key file: what is accepted, what is refused and how, and that secrets are told to nobody."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import CaudalError, Reason, StartError
from gateway.objects import key_file
from gateway.objects.key_file import read_key_file

SECRET = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "the.keys"
    key_file.create(path, "key-1", SECRET)
    return path


def put(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_new_file_holds_one_key_for_nobody_else(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    found = read_key_file(path)
    assert (found.keys, found.current) == ((("key-1", SECRET),), "key-1")
    assert SECRET.hex() not in repr(found)
    with pytest.raises(CaudalError, match="File exists"):
        key_file.create(path, "key-1", SECRET)
    assert read_key_file(path) == found


def test_both_forms_of_a_key_are_read_and_comments_stay(path: Path) -> None:
    old = base64.b64encode(SECRET).decode()
    put(path, f"# of the second floor\n\nold.1 :  {old}  \n# older\nolder:{SECRET.hex().upper()}")
    assert key_file.add(read_key_file(path), None, lambda: bytes(32)) == "key-3"
    assert key_file.add(read_key_file(path), "named", lambda: bytes(32)) == "named"
    found = read_key_file(path)
    assert found.ids == ["named", "key-3", "old.1", "older"]
    assert found.keys[-1][1] == found.keys[-2][1] == SECRET
    key_file.remove(path, "old.1")
    assert read_key_file(path).ids == ["named", "key-3", "older"]
    assert path.read_text().startswith("# of the second floor\n\nnamed: ")
    assert "# older\n" in path.read_text()
    for wrong, match in (("named", "is the current one"), ("lost", "has no key lost")):
        with pytest.raises(CaudalError, match=match):
            key_file.remove(path, wrong)


def test_none_stops_sealing_until_a_key_is_added(path: Path) -> None:
    put(path, f"none:\nold: {SECRET.hex()}\n")
    found = read_key_file(path)
    assert (found.seals, found.current, found.ids) == (False, None, ["old"])
    key_file.add(read_key_file(path), "new", lambda: bytes(32))
    assert read_key_file(path).current == "new"


def test_a_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    key_file.add(read_key_file(link), None, lambda: bytes(32))
    assert link.is_symlink()
    assert read_key_file(path).ids == ["key-2", "key-1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "none:\n",
        f"{SECRET.hex()}\n",
        f"a: {SECRET.hex()}00\n",
        f"a: {SECRET.hex()[:-2]}\n",
        "a:\n",
        f"none: {SECRET.hex()}\n",
        f"a: {SECRET.hex()}\nnone:\n",
        f"a: {SECRET.hex()}\na: {SECRET.hex()}\n",
        f"two words: {SECRET.hex()}\n",
        f"{'x' * 29}: {SECRET.hex()}\n",
        "ä: b\n",
    ],
)
def test_what_is_wrong_is_told_without_the_secret(path: Path, text: str) -> None:
    put(path, text)
    with pytest.raises(StartError) as caught:
        read_key_file(path)
    assert caught.value.reason is Reason.KEY_UNUSABLE
    assert caught.value.hint
    assert SECRET.hex()[:8] not in caught.value.message + caught.value.hint


def test_files_that_others_may_read_are_refused(path: Path, tmp_path: Path) -> None:
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(StartError) as caught:
            read_key_file(path)
        assert caught.value.hint == f"chmod 600 {path}"
    for strange in (tmp_path, tmp_path / "none", Path("/dev/null")):
        with pytest.raises(StartError, match="the key file"):
            read_key_file(strange)


@given(
    st.text() | st.lists(st.sampled_from(["none:", "a: " + "0" * 64, "b:AA==", "#", ":", "a"])).map("\n".join)
)
def test_any_text_is_keys_or_an_error(text: str) -> None:
    try:
        found = key_file.parse(Path("file"), text)
    except StartError:
        return
    assert found.keys
    assert all(len(secret) == 32 for _, secret in found.keys)
    assert len(set(found.ids)) == len(found.ids)
