"""A file system in memory that behaves like gateway.fsal towards the supervisor, and a supervisor process
that serves it.

What it does at start is said by the file `standin.json` in the state directory: {"error": MESSAGE}, {"raise":
TEXT}, {"exit": CODE}, {"mute": true}.
"""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from gateway import preflight, rpc, rpcbind, supervise
from gateway.config import Config, effective
from gateway.control import ControlServer
from gateway.errors import Reason, StartError
from gateway.ganesha_conf import Fsal, caudal_fsal
from gateway.objects import open_root_store
from gateway.objects.ownership import Ownership
from gateway.objects.place import owner_here
from gateway.pyganesha.examples.memfs import MemFs
from gateway.state import StateDir

FACTORY = "tests.ganesha.standin:create"


class StandIn(MemFs):
    """Files in memory, and the control socket that the supervisor asks for."""

    def __init__(self, state: StateDir, wish: dict[str, Any]) -> None:
        super().__init__("")
        self._state = state
        self._wish = wish
        self._control = ControlServer(
            state.control_socket,
            {
                "status": lambda _: {"cache": {"l1": {"bytes": 1 << 20}}},
                "flush": lambda fields: {"waited": fields["wait"]},
                "cache_drop": dict,
                "checkpoint_position": lambda _: {"durable_lsn": 0, "checkpoint_lsn": 0},
            },
        )

    def ready(self) -> None:
        if not self._wish.get("mute"):
            self._control.start()

    def close(self) -> None:
        self._control.close()
        (self._state.root / "closed").touch()


def create(options: str) -> StandIn:
    """The factory that Ganesha is told of."""
    state = StateDir(Path(options))
    wish_file = state.root / "standin.json"
    wish: dict[str, Any] = json.loads(wish_file.read_text()) if wish_file.exists() else {}
    if "exit" in wish:
        os._exit(wish["exit"])
    if "error" in wish:
        error = StartError(wish["error"], "do this", Reason.NO_SPACE)
        state.write_start_error(error)
        raise error
    if "raise" in wish:
        raise ValueError(wish["raise"])
    config = effective(state.root)
    store = open_root_store(config.store, os.environ)
    owner = owner_here(state.root, config.store, port=config.nfs_port, lease_s=15, now_s=0.0)
    Ownership.take(state, store, owner, new_id=lambda: secrets.token_hex(16))
    return StandIn(state, wish)


def fsal_for(config: Config) -> Fsal:
    """The FSAL block of the stand-in."""
    ours = caudal_fsal(config, preflight.find_plugins(), Path(sys.executable))
    block = ours.block.replace("gateway.fsal:create", FACTORY)
    return Fsal(ours.name, ours.plugins, ours.export_path, block, ours.own_block)


def without_rpcbind() -> None:
    """Makes this process one on a machine that has no rpcbind."""
    rpc.RPCBIND_SOCKET = "/nonexistent"
    rpc.registrations.__defaults__ = ("/nonexistent", 1.0)
    rpcbind.SEARCH_PATH = "/nonexistent"


if __name__ == "__main__":
    if os.environ.get("CAUDAL_TEST_NO_RPCBIND"):
        without_rpcbind()
    supervise.main(fsal_for=fsal_for)
