"""Keys of a file system: what a start asks for, what the store remembers, plain and sealed packs side by side."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import _core, config
from gateway.errors import Reason, StartError
from gateway.fsal.check import fsck_offline
from gateway.fsal.owner import Owner
from gateway.metadata.attributes import ROOT_INODE, SetAttributes
from gateway.objects import keys
from gateway.state import Identity, StateDir
from tests.support import frozen

MARKER = b"words that must not be found in the store. "
FIRST, SECOND = f"first: {'01' * 32}\n", f"second: {'02' * 32}\n"


class Tree:
    """A file system with a key file, opened and closed at will."""

    def __init__(self, directory: Path, *, new: bool = True) -> None:
        self.key = directory / "the.keys"
        self.state = StateDir(directory / "state")
        if not new:
            return
        self.state.prepare()
        self.state.write_identity(Identity(frozen.FS_ID))
        (self.state.root / "journal").mkdir()
        self.configure(encrypted=True)

    def configure(self, *, encrypted: bool) -> None:
        line = f'encryption_key = "{self.key}"\n' if encrypted else ""
        self.state.config_file.write_text(frozen.SETTINGS + line)

    def keys(self, text: str) -> None:
        self.key.write_text(text)
        self.key.chmod(0o600)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Owner]:
        with frozen.opened(self.state.root) as owner:
            yield owner

    def store(self) -> _core.PackStore:
        return _core.PackStore(config.effective(self.state.root).store, {})

    def objects(self) -> dict[str, bytes]:
        paths = (self.state.root / "store").rglob("*")
        return {path.name: path.read_bytes() for path in paths if path.is_file()}

    def refused(self, reason: Reason) -> str:
        before = self.objects()
        with pytest.raises(StartError) as caught, self.opened():
            pass
        assert caught.value.reason is reason
        assert caught.value.hint
        assert self.objects() == before, "a refused start changes nothing"
        return caught.value.message


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def write(owner: Owner, name: bytes) -> None:
    made, _ = owner.namespace.create(ROOT_INODE, name, SetAttributes(), uid=0, gid=0, guarded=True)
    assert owner.namespace.load(made.inode)
    owner.core.write(made.inode, 0, MARKER * 9000, stable=True)
    assert owner.flusher.wait_until_flushed(60)


def check(owner: Owner, *names: bytes) -> None:
    owner.core.cache_drop(True, True)
    for name in names:
        inode = owner.namespace.lookup(ROOT_INODE, name).inode
        assert owner.namespace.load(inode)
        assert owner.core.read(inode, 0, 1 << 20) == MARKER * 9000


def test_starts_without_the_right_keys_are_refused(tree: Tree) -> None:
    assert "does not exist" in tree.refused(Reason.KEY_UNUSABLE)
    tree.keys(FIRST)
    with tree.opened() as owner:
        write(owner, b"one")
    assert not any(MARKER in data for data in tree.objects().values())
    tree.key.chmod(0o640)
    assert "may be read or written by others (mode 0640)" in tree.refused(Reason.KEY_UNUSABLE)
    tree.keys(SECOND)
    assert "needs the key first" in tree.refused(Reason.KEY_MISSING)
    tree.keys(SECOND.replace("second", "first"))
    assert "the key first in" in tree.refused(Reason.KEY_WRONG)
    tree.configure(encrypted=False)
    assert "it needs the key first" in tree.refused(Reason.KEY_MISSING)
    # Without the key fsck does not call sound packs sound.
    report = fsck_offline(tree.state.root, {}, repair=False, deep=True)
    assert "sealed with the key first" in str(report["problems"])
    tree.configure(encrypted=True)
    tree.keys(FIRST)
    with tree.opened() as owner:
        check(owner, b"one")
    assert fsck_offline(tree.state.root, {}, repair=False, deep=True)["clean"]


def test_keys_are_taken_while_serving_and_none_that_is_in_use_is_dropped(tree: Tree) -> None:
    tree.keys(FIRST)
    with tree.opened() as owner:
        write(owner, b"one")
        tree.keys(SECOND + FIRST)
        assert owner.encryption.reload()["key"] == "second"
        write(owner, b"two")
        tree.keys(SECOND)
        with pytest.raises(StartError, match="first has sealed packs since the server started"):
            owner.encryption.reload()
        tree.keys("rubbish\n")
        with pytest.raises(StartError, match="no key in line 1"):
            owner.encryption.reload()
        assert owner.encryption.status()["keys"] == ["second", "first"]
        check(owner, b"one", b"two")
        # From here on nothing is sealed, and all of it is read.
        tree.keys("none:\n" + SECOND + FIRST)
        assert owner.encryption.reload()["state"] == "reading only"
        write(owner, b"three")
        check(owner, b"one", b"two", b"three")
    assert keys.in_use(tree.store()) == {"first": 1 + 1, "second": 1 + 1}
    assert [key_id for _, key_id in keys.packs_by_key(tree.store())].count(None) == 2
    assert set(keys.needed(tree.store())) == {"first", "second"}


ROTATE_AND_DIE = """
import sys
from pathlib import Path
from tests.unit.data.test_encryption import FIRST, SECOND, Tree, write
tree = Tree(Path(sys.argv[1]))
tree.keys(FIRST)
with tree.opened() as owner:
    write(owner, b"one")
    tree.keys(SECOND + FIRST)
    owner.encryption.reload()
    write(owner, b"two")
"""


@pytest.mark.parametrize("point", ["keys.before_remember", "keys.after_remember"])
def test_a_rotation_that_a_kill_cut_off_goes_on_at_the_next_start(tmp_path: Path, point: str) -> None:
    # The first hit is that of the first start.
    env = {**os.environ, "CAUDAL_FAILPOINTS": f"{point}=kill@2"}
    done = subprocess.run(
        [sys.executable, "-c", ROTATE_AND_DIE, tmp_path], cwd=frozen.ROOT, env=env, check=False
    )
    assert done.returncode == -signal.SIGKILL
    tree = Tree(tmp_path, new=False)
    with tree.opened() as owner:
        assert owner.encryption.status()["key"] == "second"
        write(owner, b"two")
        check(owner, b"one", b"two")
    assert set(keys.needed(tree.store())) == {"first", "second"}


def test_a_frozen_file_system_is_encrypted(tmp_path: Path) -> None:
    state, expected = frozen.unpack("v0.1.0", tmp_path)
    key = tmp_path / "the.keys"
    key.write_text(FIRST)
    key.chmod(0o600)
    settings = state / "caudal.toml"
    settings.write_text(settings.read_text() + f'encryption_key = "{key}"\n')
    with frozen.opened(state) as owner:
        assert owner.flusher.wait_until_flushed(60)
        owner.core.cache_drop(True, True)
        assert frozen.walk(owner.namespace, owner.core) == expected
        store = _core.PackStore(owner.config.store, {})
        assert {key_id for _, key_id in keys.packs_by_key(store)} == {None, "first"}
    assert fsck_offline(state, {}, repair=False, deep=True)["clean"]


def test_objects_are_sealed_for_one_purpose_and_file_system() -> None:
    ring = _core.KeyRing(frozen.FS_ID, [("k", bytes(32))])
    data = MARKER * 70_000
    sealed = ring.seal(data, "backup/1")
    assert MARKER not in sealed
    assert _core.sealed_with(sealed[: keys.NAMED_BYTES]) == "k"
    assert ring.open(sealed, "backup/1") == data
    assert ring.open(ring.seal(b"", "empty"), "empty") == b""
    sealer, opener = ring.sealer("backup/1"), ring.opener("backup/1")
    pieces = [sealer.update(data[at : at + 700_000]) for at in range(0, len(data), 700_000)]
    pieces.append(sealer.finish())
    assert b"".join([*map(opener.update, pieces), opener.finish()]) == data
    cut = ring.opener("backup/1")
    cut.update(b"".join(pieces)[:-1])
    with pytest.raises(_core.SealError):
        cut.finish()
    for done in (sealer.finish, opener.finish):
        with pytest.raises(_core.CoreError, match="finished"):
            done()
    for other, purpose in (
        (ring, "backup/2"),
        (_core.KeyRing(bytes(16), [("k", bytes(32))]), "backup/1"),
        (_core.KeyRing(frozen.FS_ID, [("k", bytes([1] * 32))]), "backup/1"),
        (_core.KeyRing(frozen.FS_ID, [("other", bytes(32))]), "backup/1"),
    ):
        with pytest.raises(_core.SealError):
            other.open(sealed, purpose)
    with pytest.raises(_core.SealError, match="version 999"):
        _core.sealed_with(b"CDSO\xe7\x03\0\0" + sealed[8:40])
    with pytest.raises(ValueError, match="32 bytes"):
        _core.KeyRing(frozen.FS_ID, [("k", bytes(31))])
    assert repr(ring) == "<KeyRing k>"
