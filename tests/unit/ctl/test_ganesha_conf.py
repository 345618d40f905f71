"""Ganesha's configuration: what is in it, and that the real server takes every word of it."""

from pathlib import Path

import pytest

from gateway import config, config_memory
from gateway.config import Config
from gateway.ganesha_conf import Fsal, caudal_fsal, render
from gateway.nfs_server import has_client_records
from tests.support.processes import free_port


def settings(state: Path, **flags: object) -> Config:
    ports = {"nfs_port": free_port(), "mountd_port": free_port()}
    return config.load(flags={"state": str(state), **ports, **flags})


def test_only_the_named_clients_get_in(tmp_path: Path) -> None:
    chosen = settings(tmp_path, clients="10.0.0.0/8,fd00::/8,*.example.com", squash="root", export="/team")
    text = render(chosen, caudal_fsal(chosen, Path("/plugins"), Path("/venv/bin/python")), (3, 4))
    before, _, after = text.partition("CLIENT {")
    assert "Access_Type = None;" in before
    assert "Access_Type = RW;" in after
    assert "Clients = 10.0.0.0/8, fd00::/8, *.example.com;" in after
    assert text.count("Squash = Root_Squash;") == 2
    assert 'Pseudo = "/team";' in text
    assert f'Options = "{tmp_path}";' in text
    assert 'Factory = "gateway.fsal:create";' in text
    assert "Protocols = 3, 4;" in text
    assert f"NFS_Port = {chosen.nfs_port};" in text


def test_groups_come_from_the_server_where_that_is_asked_for(tmp_path: Path) -> None:
    for given, word in ((False, "false"), (True, "true")):
        chosen = settings(tmp_path, manage_gids=given)
        text = render(chosen, caudal_fsal(chosen, Path("/plugins"), Path("/venv/bin/python")), (4,))
        assert text.count(f"Manage_Gids = {word};") == 2


def test_without_rpcbind_nothing_of_nfs_3_is_on(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    text = render(chosen, caudal_fsal(chosen, Path("/plugins"), Path("/venv/bin/python")), (4,))
    assert "Protocols = 4;" in text
    assert "Protocols = 3" not in text
    assert "Enable_NLM = false;" in text


def test_a_grace_is_kept_for_recorded_clients_only(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    fsal = caudal_fsal(chosen, Path("/plugins"), Path("/venv/bin/python"))
    assert "Graceless = false;" in render(chosen, fsal, (4,))
    assert "Graceless = true;" in render(chosen, fsal, (4,), grace=False)
    assert not has_client_records(tmp_path)
    for folder in ("v4recov", "v4old"):
        (tmp_path / folder / "node0").mkdir(parents=True)
        assert not has_client_records(tmp_path)
        (tmp_path / folder / "node0" / "client").mkdir()
        assert has_client_records(tmp_path)
        (tmp_path / folder / "node0" / "client").rmdir()


def test_caches_of_names_follow_the_memory_given(tmp_path: Path) -> None:
    fsal = caudal_fsal(settings(tmp_path), Path("/plugins"), Path("/venv/bin/python"))
    for memory in ("64MiB", "2GiB"):
        chosen = settings(tmp_path, metadata_memory_bytes=memory)
        bounds = chosen.metadata
        text = render(chosen, fsal, (4,))
        assert f"Entries_HWMark = {bounds.entries};" in text
        assert f"Chunks_HWMark = {bounds.chunks};" in text
        parts = [
            (bounds.entries, config_memory.ENTRY_BYTES),
            (bounds.chunks, config_memory.CHUNK_BYTES),
            (bounds.rows, config_memory.ROW_BYTES),
            (bounds.names, config_memory.NAME_BYTES),
            (bounds.changed, config_memory.CHANGED_BYTES),
        ]
        total = sum(count * size for count, size in parts)
        assert 0.99 * chosen.metadata_memory_bytes < total <= chosen.metadata_memory_bytes
        # One large operation must fit, and a page of a directory.
        assert all(count >= 200 for count, _ in parts)


def test_what_quotes_cannot_hold_is_refused(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    with pytest.raises(ValueError, match="cannot stand"):
        render(chosen, Fsal("VFS", Path('/a"b'), "/x"), (4,))
