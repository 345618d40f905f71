"""Our Fsal and what stands behind it. Ganesha's configuration names `gateway.fsal:create`."""

import os
from pathlib import Path

from gateway import config, log
from gateway.fsal.filesystem import CaudalFsal
from gateway.fsal.owner import Owner
from gateway.pyganesha import Fsal
from gateway.state import StateDir


def create(options: str) -> Fsal:
    """The Fsal of the state directory that `options` names. Called once by pyganesha, inside ganesha.nfsd.

    Why it failed goes into the state directory too, where `caudal up` looks for it.
    """
    state = StateDir(Path(options))
    try:
        settings = config.effective(state.root)
        log.configure(settings.log_level, state.logs / "gateway.log")
        owner = Owner.open(settings, os.environ)
    except Exception as error:
        state.write_start_error(error)
        raise
    return CaudalFsal(
        owner.namespace,
        fsid=(int.from_bytes(owner.fs_id[:8], "big") >> 1, int.from_bytes(owner.fs_id[8:], "big") >> 1),
        io_capsule=owner.core.io_capsule(),
        fs_info=owner.fs_info,
        on_ready=owner.ready,
        on_close=owner.close,
        on_found=owner.caching.parents.note,
    )
