"""Our Fsal and what stands behind it. Ganesha's configuration names `gateway.fsal:create` for the export of the
configuration, which comes first, and `gateway.fsal:create_export` for the others.
"""

import os
from collections.abc import Callable
from pathlib import Path

from gateway import config, log
from gateway.exports import CONFIGURED_ID
from gateway.fsal.audited import AuditedFsal
from gateway.fsal.owner import Owner
from gateway.pyganesha import Fsal, UpcallsLike
from gateway.state import StateDir

_owners: list[Owner] = []
"""The file system of this process, once it is open."""


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
    _owners.append(owner)
    return _fsal(owner, CONFIGURED_ID, lambda upcalls: owner.ready(upcalls.orphaned))


def create_export(options: str) -> Fsal:
    """The Fsal of one more export of the same file system; `options`: its number."""
    if not _owners:
        raise RuntimeError("the file system is not open")
    # What runs before clients come was begun by the first.
    return _fsal(_owners[0], int(options), lambda _upcalls: None)


def _fsal(owner: Owner, export_id: int, on_ready: Callable[[UpcallsLike], None]) -> Fsal:
    root_inode = owner.exports.opened(export_id)

    def ready(upcalls: UpcallsLike) -> None:
        owner.exports.counted(export_id, upcalls.usage)
        on_ready(upcalls)

    return AuditedFsal(
        owner.namespace,
        notes=owner.caching.cache,
        export_id=export_id,
        fsid=(int.from_bytes(owner.fs_id[:8], "big") >> 1, int.from_bytes(owner.fs_id[8:], "big") >> 1),
        io_capsule=owner.core.io_capsule(),
        fs_info=owner.fs_info,
        on_ready=ready,
        on_close=lambda: owner.exports.closed(export_id),
        on_found=owner.caching.parents.note,
        root_inode=root_inode,
        gate_capsule=owner.gate.gate_capsule(),
    )
