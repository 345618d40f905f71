"""Ganesha's configuration: what is in it, and that the real server takes every word of it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gateway import config
from gateway.config import Config
from gateway.ganesha_conf import Fsal, caudal_fsal, render
from gateway.state import StateDir
from tests.support.processes import free_port, wait_until

GANESHA = shutil.which("ganesha.nfsd") or "/usr/bin/ganesha.nfsd"
VFS = Path("/usr/lib/x86_64-linux-gnu/ganesha")


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


def test_without_rpcbind_nothing_of_nfs_3_is_on(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    text = render(chosen, caudal_fsal(chosen, Path("/plugins"), Path("/venv/bin/python")), (4,))
    assert "Protocols = 4;" in text
    assert "Protocols = 3" not in text
    assert "Enable_NLM = false;" in text


def test_what_quotes_cannot_hold_is_refused(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    with pytest.raises(ValueError, match="cannot stand"):
        render(chosen, Fsal("VFS", Path('/a"b'), "/x"), (4,))


@pytest.mark.ganesha
@pytest.mark.skipif(not Path(GANESHA).exists(), reason="nfs-ganesha is not installed")
def test_two_real_servers_take_it_side_by_side(private_network: None, disk_path: Path) -> None:
    servers: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        for name in ("one", "two"):
            state = StateDir(disk_path / name)
            state.prepare()
            exported = disk_path / f"{name}-files"
            exported.mkdir()
            chosen = settings(state.root, clients="127.0.0.1,::1,10.0.0.0/8,fd00::/8,*.example.com,@group")
            conf = state.ganesha / "ganesha.conf"
            conf.write_text(render(chosen, Fsal("VFS", VFS, str(exported)), (4,)))
            log = state.logs / "ganesha.log"
            command = [GANESHA, "-F", "-f", str(conf), "-L", str(log), "-p", str(state.run / "nfsd.lock")]
            servers.append(
                (subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), log)
            )
        for process, log in servers:
            wait_until(
                lambda log=log: log.exists() and "NFS SERVER INITIALIZED" in log.read_text(),
                f"a server is initialized: {log.read_text() if log.exists() else ''}",
            )
            assert process.poll() is None
            text = log.read_text()
            # Whatever the parser does not know or cannot use is an error in one of these words.
            assert "Config File" not in text
            assert not [line for line in text.splitlines() if ":CRIT :" in line or ":FATAL :" in line]
    finally:
        for process, _ in servers:
            process.terminate()
        for process, _ in servers:
            process.wait(30)
