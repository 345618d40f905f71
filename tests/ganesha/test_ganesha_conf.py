"""The real Ganesha takes every word of the configuration that we render."""

import subprocess
from pathlib import Path

from gateway.ganesha_conf import Fsal, render
from gateway.state import StateDir
from tests.support.processes import wait_until
from tests.unit.ctl.test_ganesha_conf import settings

GANESHA = "/usr/bin/ganesha.nfsd"
VFS = Path("/usr/lib/x86_64-linux-gnu/ganesha")


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
