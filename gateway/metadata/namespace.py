"""The namespace of a file system: what a server calls for everything but bytes.

Start-up, by whoever wires the parts: build the core and the namespace, `core.replay(from_lsn=…,
on_rows=namespace.apply_replayed, load=namespace.load_for_replay)`, `core.start()`, `namespace.ensure_root()`.

Refused operations raise `FsError` before anything changed; the core's errors (no place among those who wait, no room in
the journal, journal failed) pass through as they are. Safe for any number of threads; see `operations.base` for locking.
"""

from gateway.metadata.operations.attributes import AttributeOperations
from gateway.metadata.operations.base import Limits
from gateway.metadata.operations.create import CreateOperations
from gateway.metadata.operations.flush import FlushOperations
from gateway.metadata.operations.names import NameOperations
from gateway.metadata.operations.orphans import OrphanOperations
from gateway.metadata.operations.quotas import QuotaOperations
from gateway.metadata.operations.recovery import RecoveryOperations
from gateway.metadata.operations.xattrs import XattrOperations


class Namespace(
    CreateOperations,
    NameOperations,
    AttributeOperations,
    XattrOperations,
    QuotaOperations,
    OrphanOperations,
    FlushOperations,
    RecoveryOperations,
):
    """All operations; the constructor is `operations.base.Foundation`'s."""


__all__ = ["Limits", "Namespace"]
