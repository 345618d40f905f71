"""Serves one Fsal with the stock ganesha.nfsd in the foreground, for trying out and for tests.

    python -m gateway.pyganesha.serve gateway.pyganesha.examples.memfs:MemFs --port 12049
    mount -t nfs -o vers=4.2,port=12049 127.0.0.1:/export /mnt

NFS 3 is served where an rpcbind answers, since Ganesha does not start with it otherwise; else NFS 4 only.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from .build import LIBRARY

GANESHA = "/usr/bin/ganesha.nfsd"
RPCBIND_SOCKET = Path("/run/rpcbind.sock")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rpcbind_answers() -> bool:
    """Whether the local socket has somebody behind it; a dead one leaves its file."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(RPCBIND_SOCKET))
        except OSError:
            return False
    return True


def quoted(text: str) -> str:
    """As a string of Ganesha's configuration language, which knows no escape for the quote that begins it."""
    for quote in ('"', "'"):
        if quote not in text:
            return f"{quote}{text}{quote}"
    raise ValueError(f"a value with both kinds of quotes cannot be configured: {text}")


@dataclass
class Service:
    """One export of one Fsal; `state` is a directory for the configuration, the log and Ganesha's own records."""

    factory: str
    state: Path
    options: str = ""
    export: str = "/export"
    bind: str = "127.0.0.1"
    python: str = sys.executable
    path: str = ""
    protocols: tuple[int, ...] = (3, 4)
    port: int = field(default_factory=free_port)
    mount_port: int = field(default_factory=free_port)
    log_level: str = "EVENT"
    access: str = "RW"

    @property
    def config_file(self) -> Path:
        return self.state / "ganesha.conf"

    @property
    def log_file(self) -> Path:
        return self.state / "ganesha.log"

    def configuration(self) -> str:
        protocols = ", ".join(str(p) for p in self.protocols)
        path = f"Path = {quoted(self.path)};" if self.path else ""
        return f"""
NFS_CORE_PARAM {{
    Plugins_Dir = {quoted(str(LIBRARY.parent))};
    Bind_addr = {self.bind};
    Protocols = {protocols};
    NFS_Port = {self.port};
    MNT_Port = {self.mount_port};
    NLM_Port = {free_port()};
    Rquota_Port = {free_port()};
    Enable_RQUOTA = false;
    Mount_Path_Pseudo = true;
    # Ganesha cannot decode the kernel's SETACL: clients see no NFSACL, or `cp -a` over NFS 3 would end in EIO.
    NFSACL_Program = 1073741823;
}}
NFSV4 {{
    RecoveryBackend = fs;
    RecoveryRoot = {quoted(str(self.state))};
    Graceless = true;
    Lease_Lifetime = 5;
    Minor_Versions = 0, 1, 2;
}}
LOG {{ Default_Log_Level = {self.log_level}; }}
PYGANESHA {{ Python = {quoted(self.python)}; {path} }}
EXPORT {{
    Export_Id = 1;
    Path = {quoted(self.export)};
    Pseudo = {quoted(self.export)};
    Access_Type = {self.access};
    Squash = No_Root_Squash;
    SecType = sys;
    Protocols = {protocols};
    FSAL {{ Name = PYGANESHA; Factory = {quoted(self.factory)}; Options = {quoted(self.options)}; }}
}}
"""

    def prepare(self) -> list[str]:
        """Writes the configuration; returns the command that serves it in the foreground."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(self.configuration())
        return [
            GANESHA,
            "-F",
            "-f",
            str(self.config_file),
            "-L",
            str(self.log_file),
            "-p",
            str(self.state / "ganesha.pid"),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="pyganesha.serve", description="Serve one pyganesha.Fsal over NFS.")
    parser.add_argument("factory", help="module:callable, called with the options")
    parser.add_argument("--options", default="")
    parser.add_argument("--export", default="/export")
    parser.add_argument("--port", type=int, default=12049)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument(
        "--path", default="", help="directories to search for the module first, separated by colons"
    )
    given = parser.parse_args()
    protocols = (3, 4) if rpcbind_answers() else (4,)
    state = Path(tempfile.mkdtemp(prefix="pyganesha."))
    service = Service(
        given.factory,
        state,
        given.options,
        given.export,
        given.bind,
        path=given.path,
        protocols=protocols,
        port=given.port,
    )
    command = service.prepare()
    where = f"{given.bind}:{given.port}{given.export}"
    sys.stdout.write(f"pyganesha: serving NFS {protocols} on {where}; log in {service.log_file}\n")
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - the command is ours


if __name__ == "__main__":
    main()
