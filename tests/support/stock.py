"""The stock server, nfs-ganesha with FSAL_VFS on a local directory: the peer of benchmarks."""

from pathlib import Path
from typing import Self

from tests.support import rpcbind
from tests.support.processes import Daemon, answers, free_port

GANESHA = "/usr/bin/ganesha.nfsd"
EXPORT = "/data"


class StockGanesha:
    """A running server over `directory`, exported as /data. `state` takes its configuration, log and recovery records."""

    def __init__(self, directory: Path, state: Path, *, clients: str = "*") -> None:
        self.directory, self.state, self._clients = directory, state, clients
        self.nfs_port, self.mountd_port, self._nlm_port, self._rquota_port = (free_port() for _ in range(4))
        self._server: Daemon | None = None

    def configuration(self) -> str:
        return f"""
NFS_CORE_PARAM {{
    NFS_Port = {self.nfs_port}; MNT_Port = {self.mountd_port};
    NLM_Port = {self._nlm_port}; Rquota_Port = {self._rquota_port};
    Bind_Addr = 0.0.0.0; Mount_Path_Pseudo = true; Protocols = 3, 4;
}}
NFSV4 {{ RecoveryBackend = fs; RecoveryRoot = "{self.state}/recovery"; Graceless = true; Lease_Lifetime = 10; }}
EXPORT {{
    Export_Id = 1; Path = "{self.directory}"; Pseudo = {EXPORT}; Access_Type = RW; Squash = None; SecType = sys;
    Protocols = 3, 4; Transports = TCP; Attr_Expiration_Time = 60;
    CLIENT {{ Clients = {self._clients}; Access_Type = RW; Squash = None; }}
    FSAL {{ Name = VFS; }}
}}
LOG {{ Default_Log_Level = EVENT; }}
"""

    def start(self) -> Self:
        rpcbind.ensure()
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.state / "recovery").mkdir(parents=True, exist_ok=True)
        config = self.state / "ganesha.conf"
        config.write_text(self.configuration())
        command = [GANESHA, "-F", "-f", config, "-p", self.state / "ganesha.pid", "-L", "STDOUT"]
        self._server = Daemon(command, self.state / "ganesha.log")
        self._server.wait_ready(
            lambda: answers(self.nfs_port) and answers(self.mountd_port), "stock Ganesha answers"
        )
        return self

    @property
    def url(self) -> str:
        """For nfsbench."""
        return f"nfs://127.0.0.1{EXPORT}?version=3&nfsport={self.nfs_port}&mountport={self.mountd_port}"

    @property
    def pid(self) -> int | None:
        """The number of its process while it runs."""
        return self._server.pid if self._server else None

    def kill(self) -> None:
        if self._server:
            self._server.kill()
            self._server = None

    def stop(self) -> None:
        if self._server:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
