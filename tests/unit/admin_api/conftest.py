"""The service over a scripted gateway, asked in this process; clocks stand still unless a test moves them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from admin_api import services
from admin_api.app import make_app
from admin_api.guard import LOCAL_SCOPE
from admin_api.link import GatewayLink
from admin_api.settings import Setting, Settings
from admin_api.storage import open_engine
from gateway import exports, limits, smb_shares
from gateway.errors import ControlError, NotRunningError

STATUS: dict[str, Any] = {
    "cache": {
        "l1": {"hits": 3, "misses": 1, "bytes": 5, "capacity_bytes": 9, "errors": 0, "off": None},
        "l2": {"hits": 0, "misses": 0, "bytes": 0, "capacity_bytes": 0, "errors": 0, "off": "none"},
        "unreadable_blocks": 0,
        "pinned_blocks": 2,
        "shelves": [
            {
                "path": "/s0",
                "state": "ok",
                "why": None,
                "hits": 5,
                "bytes": 6,
                "capacity_bytes": 7,
                "errors": 0,
                "damaged_blocks": 1,
            }
        ],
    },
    "journal": {
        "mirrors": [{"path": "/j0", "state": "healthy"}],
        "bytes": 10,
        "limit_bytes": 100,
        "commit_us_p99": 250.0,
        "oldest_unflushed_s": None,
    },
    "store": {"state": "ok", "last_error": None},
    "objects": {"gets": 7, "get_bytes": 70, "errors": 0},
    "flush": {"dirty_bytes": 4, "dirty_inodes": 1, "error": None},
    "checkpoint": {"lsn": 1, "error": None},
    "quotas": {
        "trees": 2,
        "over_soft": 1,
        "nearly_full": 1,
        "full": 0,
        "fullest": [{"id": 1099511627781, "share": 0.8}],
    },
}


QUOTA: dict[str, Any] = {
    "id": 1099511627781,
    "path": "/data/q",
    "version": 3,
    "hard_bytes": 1048576,
    "soft_bytes": None,
    "hard_inodes": None,
    "soft_inodes": 10,
    "grace_s": 604800,
    "used_bytes": 4096,
    "used_inodes": 11,
    "bytes_grace_ends_s": None,
    "inodes_grace_ends_s": 1800000000.5,
}
HELD: dict[str, Any] = {"files": 2, "directories": 1, "bytes": 9, "allocated_bytes": 1024, "blocks": 2}
QUOTA_ANSWERS: dict[str, Any] = {
    "quota_list": {"items": [QUOTA], "next": 1099511627781},
    "quota_show": QUOTA,
    "quota_create": QUOTA,
    "quota_change": QUOTA,
    "quota_remove": None,
    "tree": {
        "id": 1,
        "path": "/data",
        **HELD,
        "items": [{"name": "q", "id": 1099511627781, "is_directory": True, **HELD}],
        "next": None,
    },
    "owner_usage": {"items": [{"id": 0, "inodes": 4, "bytes": 9, "allocated_bytes": 1024}], "next": None},
}


JOB = {"id": "j1", "kind": "cache.warm", "state": "done", "error": None, "progress": {"files": 2}}
SET = {"l1_bytes": 1 << 30, "shelf": ["/s0=1073741824"], "changed": ["l1_bytes"]}
TIERING = {
    "enabled": False,
    "cool_after_days": 30,
    "cold_after_days": None,
    "min_pack_bytes": 1048576,
    "version": 4,
    "available": True,
}
KERBEROS: dict[str, Any] = {
    "version": 77,
    "realms": ["A.TEST"],
    "restarting": True,
    "keys": [{"principal": "nfs/server.test", "realm": "A.TEST", "kvno": 1, "type": "aes", "made_s": 1}],
}
ANSWERS: dict[str, Any] = {
    **dict.fromkeys(("kerberos", "kerberos_set", "kerberos_remove"), KERBEROS),
    "mirror_add": {"added": True},
    "packs": {"packs": 3, "bytes": 30, "live_bytes": 20, "dead_packs": 1, "dead_bytes": 5},
    **dict.fromkeys(("tiering", "tiering_set"), TIERING),
    "tiering_estimate": {"cool": {"packs": 2, "bytes": 1 << 30}, "cold": {"packs": 0, "bytes": 0}},
    "cache_resize": SET,
    "shelf_resize": SET,
    "shelf_add": {"path": "/s1", "bytes": 1 << 30},
    "shelf_remove": {"left": None},
    "cache_pins": {
        "room_bytes": 10,
        "items": [{"path": "/data/a", "bytes": 4, "held_bytes": 4, "why": None}],
    },
    "cache_policy": {
        "on": False,
        "interval_s": 30.0,
        "bounds": {},
        "prices": {},
        "latest": {},
        "changes": [],
    },
    "activity": {"half_life_s": 30.0, "all": {}, "clients": [], "files": [], "directories": []},
    **dict.fromkeys(
        (
            "shelf_drain",
            "cache_warm",
            "cache_pin",
            "cache_job",
            "cache_job_cancel",
            "objects_collect",
            "tiering_run",
        ),
        JOB,
    ),
}


class Gateway:
    """What answers behind the control client. down: nobody does. calls: what was asked for, beside status and ping."""

    def __init__(self) -> None:
        self.down = False
        self.refuses = ""
        self.status = STATUS
        self.exports: dict[str, dict[str, Any]] = {}
        self.limits: dict[str, dict[str, Any]] = {}
        self.shares: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.answers: dict[str, Any] = {**ANSWERS, **QUOTA_ANSWERS}
        self.refusals: dict[str, ControlError] = {}

    def connect(self, _timeout_s: float | None) -> "Gateway":
        return self

    def call(self, op: str, **fields: object) -> Any:
        if self.down:
            raise NotRunningError("no server answers")
        if op == "status":
            return self.status
        if op.startswith("export"):
            return self._export(op, **fields)
        if op.startswith("share"):
            return self._share(op, **fields)
        if op.startswith("limit"):
            return self._limit(op, **fields)
        if op != "ping":
            self.calls.append((op, fields))
            if self.refuses:
                raise ControlError("refused", self.refuses)
            if op in self.refusals:
                raise self.refusals[op]
        return self.answers.get(op, {"dirty_bytes": 0})

    def _export(self, op: str, **fields: Any) -> Any:
        if op == "exports":
            return list(self.exports.values())
        if op == "export_add":
            wanted = msgspec.to_builtins(exports.parse(fields["export"]))
            if wanted["name"] in self.exports:
                raise ControlError("exists", "there is such an export already")
            made = {**wanted, "id": len(self.exports) + 2, "version": 1, "configured": False, "serving": True}
            self.exports[wanted["name"]] = made
            return made
        found = self.exports.get(fields["name"])
        if found is None:
            raise ControlError("not_found", "there is no such export")
        if fields["version"] not in (None, found["version"]):
            raise ControlError("changed_meanwhile", "somebody changed it meanwhile")
        if op == "export_remove":
            return self.exports.pop(fields["name"]) and None
        found |= {**fields["changes"], "version": found["version"] + 1}
        return found

    def _share(self, op: str, **fields: Any) -> Any:
        if op == "shares":
            items = list(self.shares.values())
            return {"set_up": True, "running": True, "why": "", "items": items}
        told = {"configured": False, "serving": True, "why": ""}
        if op == "share_add":
            wanted = msgspec.to_builtins(smb_shares.parse(fields["share"]))
            if smb_shares.key(wanted["name"]) in self.shares:
                raise ControlError("exists", "there is such a share already")
            return self.shares.setdefault(smb_shares.key(wanted["name"]), {**wanted, **told, "version": 1})
        found = self.shares.get(smb_shares.key(fields["name"]))
        if found is None:
            raise ControlError("not_found", "there is no such share")
        if fields["version"] not in (None, found["version"]):
            raise ControlError("changed_meanwhile", "somebody changed it meanwhile")
        if op == "share_remove":
            return self.shares.pop(smb_shares.key(fields["name"])) and None
        wanted = smb_shares.parse({"name": found["name"], **fields["changes"]})
        found |= {**msgspec.to_builtins(wanted), "version": found["version"] + 1}
        return found

    def _limit(self, op: str, **fields: Any) -> Any:
        if op == "limits":
            return list(self.limits.values())
        if op == "limit_remove":
            if fields["name"] not in self.limits:
                raise ControlError("not_found", "there is no such limit")
            return self.limits.pop(fields["name"]) and None
        wanted = limits.parse(fields["limit"])
        counts = {"passed": 0, "delayed": 0, "refused": 0, "delayed_s": 0.0, "active": True, "trial": False}
        made = {**msgspec.to_builtins(wanted), **counts, "version": fields["version"] + 1}
        self.limits[wanted.name] = made
        return made

    def close(self) -> None:
        """Holds nothing."""


class Api:
    """The service, its gateway, and its clocks."""

    def __init__(self, directory: Path, database: str = "") -> None:
        self.gateway = Gateway()
        self.now_s = 1_800_000_000.0
        ids = iter(range(1_000_000))
        settings = Settings(
            port=1,
            directory=directory,
            control_socket=directory / "c",
            admin_socket=directory / "a",
            log=directory / "l",
            log_level="info",
            version="9.9",
            database=database,
            syslog="",
            certificate=None,
            certificate_key=None,
            config=[Setting("nfs_port", 2049, "default", "TCP port of NFS.")],
        )
        clock: Callable[[], float] = lambda: self.now_s  # noqa: E731
        engine = open_engine(settings.database_url)
        link = GatewayLink(self.gateway.connect, clock)
        self.services = services.build(
            settings,
            engine,
            link,
            now_s=clock,
            monotonic_s=clock,
            new_id=lambda: f"{next(ids):016x}",
            host="nas",
        )
        self.app: FastAPI = make_app(self.services)

    def ask(
        self, method: str, path: str, body: Any = None, token: str | None = None, **more: Any
    ) -> httpx.Response:
        """One request from the network, with a token where it is given."""
        headers = {**more.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        return self._ask(self.app, method, path, json=body, headers=headers, **more)

    def local(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request by the local socket."""

        async def marked(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, LOCAL_SCOPE: True}, receive, send)

        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._ask(marked, method, path, json=body, headers=named)

    def ask_app(self, app: Any, path: str, headers: dict[str, str]) -> httpx.Response:
        """One GET of another application over the same services, by its whole path."""
        return self._request(app, "GET", path, headers=headers)

    def _ask(self, app: Any, method: str, path: str, **more: Any) -> httpx.Response:
        return self._request(app, method, f"/v1/{path}", **more)

    def _request(self, app: Any, method: str, path: str, **more: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="https://caudal") as client:
                return await client.request(method, path, **more)

        return asyncio.run(once())

    def token(self, role: str, **more: object) -> str:
        made = self.local("POST", "tokens", {"name": f"t-{role}", "role": role, **more})
        assert made.status_code == 201, made.text
        return made.json()["token"]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.services.engine.dispose()
