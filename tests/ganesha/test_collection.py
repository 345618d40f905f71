"""Packs go when nothing lives in them, and are written anew when little does: seen from a client and from the store."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from gateway import sqlite
from gateway.control import ControlClient
from gateway.objects.azure import service_client
from gateway.objects.credentials import azure_credentials
from tests.support.azurite import Azurite
from tests.support.caudal import Caudal
from tests.support.processes import wait_until

EAGER = (
    "--gc-interval-s",
    "0.3",
    "--gc-grace-s",
    "0",
    "--flush-age-s",
    "0.1",
    "--checkpoint-interval-s",
    "0.1",
)
FILE_BYTES = 100_000
FILES = 60


def content(name: str) -> bytes:
    return hashlib.shake_128(name.encode()).digest(FILE_BYTES)


def packs(server: Caudal) -> dict[str, int]:
    """Blobs of the directory store: name → bytes."""
    store: Path = server.state / "store"
    return {path.name: path.stat().st_size for path in (store / "packs").rglob("*") if path.is_file()}


def write_some(server: Caudal) -> None:
    with server.connect() as client:
        for number in range(FILES):
            client.write_file(f"/f{number}", content(f"/f{number}"))
    server.flush()


def test_packs_of_deleted_files_go(caudal: Callable[..., Caudal]) -> None:
    server = caudal(options=EAGER).start()
    write_some(server)
    assert sum(packs(server).values()) > FILES * FILE_BYTES
    with server.connect() as client:
        for number in range(FILES):
            client.unlink(f"/f{number}")
    wait_until(lambda: not packs(server), "no pack is left", 60)
    server.fsck()


def test_mostly_dead_packs_are_written_anew_and_files_stay_whole(caudal: Callable[..., Caudal]) -> None:
    server = caudal(options=EAGER).start()
    write_some(server)
    before = packs(server)
    kept = range(0, FILES, 10)
    with server.connect() as client:
        for number in range(FILES):
            if number not in kept:
                client.unlink(f"/f{number}")
        live = len(kept) * FILE_BYTES
        # Each pack that was less than a third live is replaced; what is left is little more than what lives.
        wait_until(
            lambda: sum(packs(server).values()) < 3 * live + (1 << 20), "dead bytes are given back", 60
        )
        assert packs(server).keys() != before.keys()
        server.cli("cache", "drop")
        for number in kept:
            assert client.read_file(f"/f{number}") == content(f"/f{number}")
    server.cli("fsck", "--deep", timeout_s=120)
    old = server.kill_server()
    server.wait_restarted(old)
    with server.connect() as client:
        for number in kept:
            assert client.read_file(f"/f{number}") == content(f"/f{number}")


def test_a_pack_that_no_transaction_names_goes(caudal: Callable[..., Caudal]) -> None:
    """A crash between the PUT and the transaction leaves one; the next start flushes again and removes it."""
    server = caudal(options=EAGER)
    server.start(failpoints="flush.before_commit=kill@1")
    with server.connect() as client:
        old = server.pid("ganesha")
        client.write_file("/file", content("/file"))
    assert old is not None
    server.wait_restarted(old)
    server.flush()
    with server.connect() as client:
        assert client.read_file("/file") == content("/file")
    wait_until(lambda: len(packs(server)) == 1, "only the pack that is named is left", 60)
    server.fsck()


def test_a_collection_that_was_asked_for(caudal: Callable[..., Caudal]) -> None:
    """Rounds come seldom here: what goes, goes because somebody asked for it."""
    server = caudal(
        options=("--gc-grace-s", "0", "--gc-interval-s", "3600", "--flush-age-s", "5"),
        admin=True,
    ).start()
    write_some(server)
    with server.connect() as client:
        for number in range(FILES // 2):
            client.unlink(f"/f{number}")
    before = json.loads(server.cli("objects", "show", "--json"))["packs"]
    assert before["packs"] == len(packs(server)) > 0
    first = json.loads(server.cli("objects", "collect", "--json"))["result"]
    assert first["unnamed_packs"] == 0
    server.flush()
    with server.connect() as client:
        for number in range(FILES // 2, FILES - 1):
            client.unlink(f"/f{number}")
        server.flush()
        done = json.loads(server.cli("objects", "collect", "--json"))
        assert done["state"] == "done"
        assert done["result"]["moved_bytes"] >= FILE_BYTES, done
        # What the newest backup does not need goes, and no more.
        assert done["result"]["waiting_bytes"] > 0
        with ControlClient(server.state / "run/control.sock", timeout_s=60) as control:
            control.call("backup_snapshot", timeout_s=50)
        # Deaths are known to the second: what died in this one is not collected in it.
        time.sleep(1)
        gone = json.loads(server.cli("objects", "collect", "--json"))["result"]
        assert gone["deleted_bytes"] > FILE_BYTES
        assert sum(packs(server).values()) < FILES * FILE_BYTES - gone["deleted_bytes"] // 2
        last = f"/f{FILES - 1}"
        server.cli("cache", "drop")
        assert client.read_file(last) == content(last)
        # With the steward away it waits, is cancelled, and the next one finds nothing to do.
        steward = server.pid("steward")
        assert steward is not None
        os.kill(steward, signal.SIGSTOP)
        try:
            begun = json.loads(server.cli("objects", "collect", "--no-wait", "--json"))
            refused = server.run("objects", "collect", "--state", str(server.state))
            assert "one runs already" in refused.stderr
            server.cli("operation", "cancel", begun["id"])
        finally:
            os.kill(steward, signal.SIGCONT)
        wait_until(
            lambda: (
                json.loads(server.cli("operation", "show", begun["id"], "--json"))["state"] == "cancelled"
            ),
            "it is cancelled",
        )
    server.fsck()


def test_packs_that_nobody_reads_go_into_another_tier(
    azurite: Azurite, caudal: Callable[..., Caudal]
) -> None:
    """Days are as long as ever: what was read is made to lie back in the database."""
    server = caudal(
        store="az://collection/tiers",
        env=azurite.environment,
        options=("--gc-interval-s", "3600"),
        admin=True,
    ).start()
    write_some(server)
    policy = ("--cool-after", "30d", "--min-size", "1KiB")
    assert json.loads(server.cli("objects", "tiering", "set", *policy, "--json"))["enabled"] is False
    first = json.loads(server.cli("objects", "tiering", "run", "--yes", "--json"))
    assert (first["state"], first["result"]["cool_packs"]) == ("done", 0)
    with sqlite.DRIVER.connect(server.state / "metadata.db", timeout=30) as database:
        database.execute("UPDATE pack_tier SET read_day = read_day - 31")
    database.close()
    estimate = json.loads(server.cli("objects", "tiering", "estimate", "--json"))["cool"]
    assert estimate["packs"] > 0
    assert (estimate["reads"], estimate["read_cost"]) == (-(-estimate["bytes"] // (4 << 20)), None)
    # What the cache lacks comes from the store, and counts.
    server.cli("cache", "drop")
    with server.connect() as client:
        assert client.read_file("/f0") == content("/f0")
    done = json.loads(server.cli("objects", "tiering", "run", "--yes", "--json"))["result"]
    assert done["cool_packs"] == estimate["packs"] - 1
    with sqlite.DRIVER.connect(server.state / "metadata.db", timeout=30) as database:
        database.execute("UPDATE pack_tier SET read_day = read_day - 31")
    database.close()
    done = json.loads(server.cli("objects", "tiering", "run", "--yes", "--json"))["result"]
    assert done["cool_packs"] == 1
    service = service_client(azure_credentials(azurite.environment))
    blobs = list(service.get_container_client("collection").list_blobs(name_starts_with="tiers/packs/"))
    service.close()
    assert {str(blob.blob_tier) for blob in blobs} == {"Cool"}
    wait_until(
        lambda: (
            json.loads(server.cli("objects", "show", "--json"))["packs"]["tiers"]["cool"]["packs"]
            == len(blobs)
        ),
        "the tiers are shown",
        20,
    )
    server.cli("cache", "drop")
    with server.connect() as client:
        assert client.read_file("/f1") == content("/f1")


def test_a_directory_says_that_it_has_no_tiers(caudal: Callable[..., Caudal]) -> None:
    server = caudal(admin=True).start()
    for words in (("estimate",), ("run", "--yes"), ("set", "--on")):
        refused = server.run("objects", "tiering", *words, "--state", str(server.state))
        assert "has no access tiers" in " ".join(refused.stderr.split())
    assert json.loads(server.cli("objects", "tiering", "show", "--json"))["available"] is False
