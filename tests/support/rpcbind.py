"""rpcbind and rpc.statd of a test run: what NFS 3 needs beside the server, in the private network."""

import atexit
import tempfile
from pathlib import Path

from tests.support import netns
from tests.support.processes import Daemon, answers

PORT = 111


def ensure() -> None:
    """Starts both where no rpcbind answers; they live as long as the test run."""
    if answers(PORT):
        return
    if not netns.entered():
        raise RuntimeError("no rpcbind answers, and tests start one in a private network only (needs root)")
    logs = Path(tempfile.mkdtemp(prefix="rpcbind."))
    portmapper = Daemon(["/usr/sbin/rpcbind", "-f", "-w"], logs / "rpcbind.log")
    portmapper.wait_ready(lambda: answers(PORT), "rpcbind answers")
    statd = Daemon(["/usr/sbin/rpc.statd", "-F", "--no-notify"], logs / "statd.log")
    for daemon in (statd, portmapper):
        atexit.register(daemon.stop)
