"""Encryption of packs at a real server: what the store holds, what a start without the right key says, and rotation."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.caudal import Caudal, StartFailed
from tests.support.fake_vault import FakeVault
from tests.support.processes import wait_until

MARKER = b"a line that must not be found in the store, "
# More than one block, and a length that is no multiple of anything.
LARGE = MARKER * 20_011
QUICK = ("--l2-bytes", "0", "--gc-interval-s", "0.2", "--gc-grace-s", "0", "--checkpoint-interval-s", "0.1")


def objects(server: Caudal) -> dict[str, bytes]:
    store = server.state / "store"
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def packs(server: Caudal) -> dict[str, bytes]:
    return {name: data for name, data in objects(server).items() if name.startswith("packs/")}


def plain(server: Caudal) -> list[str]:
    return [name for name, data in objects(server).items() if MARKER in data]


def secrets_of(path: Path) -> list[str]:
    return re.findall(r": ([0-9a-f]{64})", path.read_text())


def refused(server: Caudal) -> str:
    with pytest.raises(StartFailed) as caught:
        server.start()
    return str(caught.value)


def not_retired(server: Caudal, key_id: str) -> str:
    done = server.run("key", "retire", key_id, "--state", str(server.state))
    assert done.returncode
    return done.stderr


def read_back(server: Caudal) -> None:
    server.cli("cache", "drop")
    with server.connect() as client:
        for name in {entry.name.decode() for entry in client.readdir("/")} - {".", ".."}:
            assert client.read_file(f"/{name}") == LARGE, name


def test_the_store_holds_no_plaintext_and_keys_rotate(caudal: Callable[..., Caudal], disk_path: Path) -> None:
    key = disk_path / "the.keys"
    server = caudal(options=(*QUICK, "--encryption-key", str(key)))
    assert "does not exist" in refused(server)
    server.run("key", "create", str(key))
    assert key.stat().st_mode & 0o777 == 0o600
    server.start()
    with server.connect() as client:
        client.write_file("/first", LARGE)
    server.flush()
    assert packs(server)
    assert not plain(server)
    assert server.status()["encryption"] == {
        "state": "on",
        "key": "key-1",
        "keys": ["key-1"],
        "used_since_start": ["key-1"],
    }
    first = packs(server)

    # Rotation beside the running server: what was there stays, what comes is sealed with the new key.
    server.cli("key", "rotate")
    with server.connect() as client:
        client.write_file("/second", LARGE)
    server.flush()
    assert b"key-1" in next(iter(first.values()))[:40]
    new = {name: data for name, data in packs(server).items() if name not in first}
    assert new
    assert all(b"key-2" in data[:40] for data in new.values())
    read_back(server)
    assert "the running server has sealed with the key key-1" in not_retired(server, "key-1")
    assert "is the current one" in not_retired(server, "key-2")
    server.kill_everything()
    server.start()
    read_back(server)

    # Everything is sealed anew, the old packs go, and the first key with them.
    assert "objects in the store are sealed with the key key-1" in not_retired(server, "key-1")
    server.cli("key", "rewrite")
    wait_until(
        lambda: not any(b"key-1" in data[:40] for data in packs(server).values()), "the old packs are gone"
    )
    server.cli("key", "retire", "key-1")
    assert re.search(r"key-2 +current +needs it", listed := server.cli("key", "list", "--packs")), listed
    assert "key-1" not in key.read_text()
    read_back(server)
    assert not plain(server)

    # No secret is anywhere but in the key file.
    told = server.cli("status", "--json") + server.cli("config", "show", "--all")
    written = b"".join(path.read_bytes() for path in server.state.rglob("*") if path.is_file())
    for secret in secrets_of(key):
        assert secret not in told
        assert secret.encode() not in written
        assert bytes.fromhex(secret) not in written
    assert not server.complaints()

    # Another key of the same name starts nothing, and leaves the store as it was.
    server.stop()
    before = objects(server)
    key.write_text(f"key-2: {'ab' * 32}\n")
    said = refused(server)
    assert "the key key-2" in said
    assert "is not the one that this file system is encrypted with" in said
    assert objects(server) == before
    # The refused start has told its story in the logs; what came before was looked at above.
    server.expect("")


def test_a_plain_file_system_is_encrypted_later(caudal: Callable[..., Caudal], disk_path: Path) -> None:
    key = disk_path / "the.keys"
    server = caudal(options=QUICK).start()
    with server.connect() as client:
        client.write_file("/first", LARGE)
    server.flush()
    assert plain(server)
    server.stop()
    server.run("key", "create", str(key), "--id", "later")
    server.options = (*QUICK, "--encryption-key", str(key))
    server.start()
    read_back(server)
    server.cli("key", "rewrite")
    wait_until(lambda: not plain(server), "the plain packs are gone")
    read_back(server)
    assert '"clean": true' in server.cli("fsck", "--deep", "--json")

    # A bit that flips in the store is an error for the client, never other data.
    server.expect("nfs3_read_cb converted to NFS3ERR_IO", "block.unreadable")
    for name, data in packs(server).items():
        if len(data) > 4096:
            flipped = bytearray(data)
            flipped[2000] ^= 1
            (server.state / "store" / name).write_bytes(flipped)
    server.cli("cache", "drop")
    with server.connect() as client, pytest.raises(OSError, match="nfs_pread"):
        client.read_file("/first")
    assert server.run("fsck", "--deep", "--state", str(server.state)).returncode == 4


def test_keys_that_only_a_vault_can_unwrap(caudal: Callable[..., Caudal], disk_path: Path) -> None:
    key = disk_path / "the.keys"
    with FakeVault(disk_path) as vault:
        server = caudal(options=(*QUICK, "--encryption-key", str(key)), env=vault.env)
        made = server.run("key", "create", str(key), "--vault", vault.url)
        assert made.returncode == 0, made.stderr
        assert not secrets_of(key)
        server.start()
        with server.connect() as client:
            client.write_file("/first", LARGE)
        server.flush()
        assert not plain(server)
        # The new key is wrapped by the same key of the vault, in its newest version.
        newest = vault.new_version()
        server.cli("key", "rotate")
        assert not secrets_of(key)
        listed = " ".join(server.cli("key", "list").split())
        assert "key-2 current, wrapped needs it" in listed, listed
        assert f"wrapped by {vault.url}/{newest}" in listed, listed
        with server.connect() as client:
            client.write_file("/second", LARGE)
        server.cli("key", "wrap", vault.url)
        assert key.read_text().count(f"/keys/caudal/{newest} ") == 2
        server.stop()

        vault.refuse = 403
        server.expect("Key Vault", "key_unusable", "supervisor", "start")
        said = refused(server)
        assert "Azure Key Vault does not unwrap with" in said
        assert "grant the identity the permission" in said
        vault.refuse = None
        server.start()
        read_back(server)
        server.stop()
    assert "check the network to the vault" in refused(server)
