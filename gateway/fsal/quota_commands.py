"""Operations of the control socket for limits on directories, and for what trees and owners hold.

Paths are as clients see them: the export's, and the path inside it. Names that are no UTF-8 are told with signs in the place
of their bytes; whoever has to be exact goes by `id`, the inode.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from gateway._core import CoreError
from gateway.control import ControlServer
from gateway.errors import ControlError
from gateway.fsal.client_paths import ClientPaths
from gateway.metadata.attributes import DIRECTORY
from gateway.metadata.errors import FsError, QuotaError
from gateway.metadata.namespace import Namespace
from gateway.metadata.operations.quotas import Child, Limits
from gateway.metadata.quotas import TreeUse
from gateway.metadata.rows import PutQuota
from gateway.metadata.sums import TreeSums

log = structlog.get_logger(__name__)

PAGE_MAX: Final = 1000
FULL: Final = 0.9
"""A tree with less than a tenth of its hard limit left counts as nearly full."""
FULLEST: Final = 20
"""Trees that the status names."""
KINDS: Final = {"user": 0, "group": 1}


class QuotaCommands:
    """Handlers bound to one namespace and the paths of its exports."""

    def __init__(self, namespace: Namespace, paths: ClientPaths) -> None:
        self._fs = namespace
        self._paths = paths

    def register(self, server: ControlServer) -> None:
        for op, handler in {
            "quota_list": self.list,
            "quota_show": self.show,
            "quota_create": self.create,
            "quota_change": self.change,
            "quota_remove": self.remove,
            "tree": self.tree,
            "owner_usage": self.owner_usage,
        }.items():
            server.register(op, _told(handler))

    def list(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """`after`: the last page's `next`; `limit`: items of the page."""
        limit = _limit(fields)
        found = self._fs.quota_list(int(fields.get("after") or 0), limit + 1)
        items = [self._view(op, use) for op, use in found[:limit]]
        return {"items": items, "next": found[limit - 1][0].dir if len(found) > limit else None}

    def show(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """`id` or `path` of a directory with limits."""
        return self._view(*self._fs.quota(self._directory(fields)))

    def create(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """`path` and limits. What lies in the directory counts at once."""
        directory = self._directory(fields)
        self._fs.set_quota(directory, _limits(fields, Limits()), None)
        return self._view(*self._fs.quota(directory))

    def change(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """`id`, `version` of the limits that were seen (missing: whichever), and those that are to be others."""
        directory = self._directory(fields)
        old = self._fs.quota(directory)[0]
        version = fields.get("version")
        before = Limits(old.hard_bytes, old.soft_bytes, old.hard_inodes, old.soft_inodes, old.grace_s)
        self._fs.set_quota(
            directory, _limits(fields, before), old.version if version is None else int(version)
        )
        return self._view(*self._fs.quota(directory))

    def remove(self, fields: Mapping[str, Any]) -> None:
        """`id` or `path`; `version` as of `change`."""
        version = fields.get("version")
        self._fs.drop_quota(self._directory(fields), None if version is None else int(version))

    def tree(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """What is below the directory `path`, and a page of its entries."""
        directory = self._directory(fields)
        sums = self._fs.tree(directory)
        limit = _limit(fields)
        # One more tells whether there is a next page.
        page = self._fs.children(directory, int(fields.get("after") or 0), limit + 1)
        return {
            "id": directory,
            "path": self._paths.of_directory(directory),
            **_sums(sums),
            "items": [_child(child) for child in page[:limit]],
            "next": page[limit - 1].entry.cookie if len(page) > limit else None,
        }

    def owner_usage(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """What users (`kind` user) or groups have, as of the last checkpoint."""
        limit = _limit(fields)
        after = fields.get("after")
        found = self._fs.owner_usage(KINDS[fields["kind"]], -1 if after is None else int(after), limit + 1)
        items = [
            {"id": owner, "inodes": inodes, "bytes": size, "allocated_bytes": space}
            for owner, inodes, size, space in found[:limit]
        ]
        return {"items": items, "next": items[-1]["id"] if len(found) > limit else None}

    def _directory(self, fields: Mapping[str, Any]) -> int:
        if fields.get("id") is not None:
            return int(fields["id"])
        return self._paths.directory(str(fields["path"]))

    def _view(self, op: PutQuota, use: TreeUse) -> dict[str, object]:
        try:
            path = self._paths.of_directory(op.dir)
        except FsError:
            path = None  # it has just been removed
        return {
            "id": op.dir,
            "path": path,
            "version": op.version,
            "hard_bytes": op.hard_bytes,
            "soft_bytes": op.soft_bytes,
            "hard_inodes": op.hard_inodes,
            "soft_inodes": op.soft_inodes,
            "grace_s": op.grace_s,
            "used_bytes": use.bytes,
            "used_inodes": use.inodes,
            "bytes_grace_ends_s": _end(use.bytes_since_ns, op.grace_s),
            "inodes_grace_ends_s": _end(use.inodes_since_ns, op.grace_s),
        }


class SoftLimits:
    """A thread that notes durably since when soft limits are exceeded."""

    def __init__(self, namespace: Namespace, interval_s: float = 1.0) -> None:
        self._namespace = namespace
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soft-limits", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._namespace.settle_quotas()
            except (FsError, CoreError) as error:
                # The journal is full or gone; the next turn tries again.
                log.warning("quotas.not_noted", why=str(error))
            except Exception:
                log.exception("quotas.not_noted")


def figures(namespace: Namespace) -> dict[str, object]:
    """Of all trees with limits, for the status: how many there are, and how many are in want of room."""
    found = list(namespace.quota_uses())
    shares = [_share(entry) for entry in found]
    soft = sum(bool(use.bytes_since_ns or use.inodes_since_ns) for _, use in found)
    fullest = sorted(found, key=_share, reverse=True)[:FULLEST]
    return {
        "trees": len(found),
        "over_soft": soft,
        "nearly_full": sum(FULL <= share < 1 for share in shares),
        "full": sum(share >= 1 for share in shares),
        "fullest": [{"id": op.dir, "share": round(_share((op, use)), 4)} for op, use in fullest],
    }


def _share(entry: tuple[PutQuota, TreeUse]) -> float:
    op, use = entry
    pairs = ((use.bytes, op.hard_bytes), (use.inodes, op.hard_inodes))
    return max((1.0 if not hard else used / hard for used, hard in pairs if hard is not None), default=0.0)


def _end(since_ns: int, grace_s: int) -> float | None:
    return since_ns / 1e9 + grace_s if since_ns else None


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


def _limit(fields: Mapping[str, Any]) -> int:
    limit = int(fields.get("limit", 50))
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"limit {limit} is not between 1 and {PAGE_MAX}")
    return limit


def _limits(fields: Mapping[str, Any], before: Limits) -> Limits:
    return before._replace(**{name: fields[name] for name in Limits._fields if name in fields})


def _sums(sums: TreeSums) -> dict[str, object]:
    return {
        "files": sums.files,
        "directories": sums.directories,
        "bytes": sums.bytes,
        "allocated_bytes": sums.space,
        "blocks": sums.space // 512,
    }


def _child(child: Child) -> dict[str, object]:
    attributes = child.entry.attributes
    sums = child.sums or TreeSums(1, 0, attributes.size, attributes.space_used)
    return {
        "name": _text(child.entry.name),
        "id": attributes.inode,
        "is_directory": attributes.kind == DIRECTORY,
        **_sums(sums),
    }


def _told(handler: Callable[[Mapping[str, Any]], object]) -> Callable[[Mapping[str, Any]], object]:
    """A handler whose refusals are told in the caller's words."""

    def handle(fields: Mapping[str, Any]) -> object:
        try:
            return handler(fields)
        except QuotaError as error:
            raise ControlError(error.code, error.message, error.hint) from error
        except FsError as error:
            raise ControlError(
                "no_such_path", f"there is no such directory: {error}", "give a path as clients see it"
            ) from error

    return handle
