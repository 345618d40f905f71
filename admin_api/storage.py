"""The service's database: one engine, migrated when it is opened; audit records and idempotent creation in it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine, create_engine, delete, event, inspect, select, text

from admin_api import tables
from admin_api.problems import Problem
from gateway import sqlite

log = structlog.get_logger(__name__)
HEAD: Final = "0004"
AUDIT_ROWS: Final = 100_000
IDEMPOTENCY_S: Final = 86400.0


class NewerDatabaseError(Exception):
    """A later version of the service wrote the database; this one leaves it alone."""


def open_engine(url: str) -> Engine:
    """The database of a URL, at the newest schema. Raises NewerDatabaseError."""
    if url.startswith("sqlite"):
        engine = sqlite.engine(url, pool_pre_ping=False)
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        engine = create_engine(url, pool_pre_ping=True)
    with engine.begin() as connection:
        upgrade(connection)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {pragma}")


def upgrade(connection: Connection) -> None:
    """Brings the schema to HEAD. Raises NewerDatabaseError when it is past that."""
    if inspect(connection).has_table("alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise NewerDatabaseError(f"the admin database has schema {found}; this version knows {HEAD}")
    # Imported here: it costs a third of a second, and almost every start finds the schema as it should be.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def record(
    connection: Connection, at_s: float, who: str, address: str, action: str, target: str, **detail: object
) -> None:
    """One audit record, in the transaction of the change that it tells of; the oldest beyond AUDIT_ROWS go."""
    done = connection.execute(
        tables.audit.insert().values(
            at_s=at_s,
            principal=who,
            address=address,
            action=action,
            target=target,
            detail=json.dumps(detail),
        )
    )
    key = done.inserted_primary_key
    assert key is not None
    connection.execute(delete(tables.audit).where(tables.audit.c.id <= key[0] - AUDIT_ROWS))
    log.info("audit", who=who, action=action, target=target)


def once(
    connection: Connection,
    now_s: float,
    who: str,
    route: str,
    key: str | None,
    body: Mapping[str, Any],
    create: Callable[[], dict[str, Any]],
    hidden: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """What `create` returns, or what it returned when the same caller used the same key before; the `hidden` fields are
    None then. Raises Problem where the key was used for something else.
    """
    if key is None:
        return create()
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    table = tables.idempotency
    connection.execute(delete(table).where(table.c.created_s < now_s - IDEMPOTENCY_S))
    mine = (table.c.principal == who) & (table.c.route == route) & (table.c.key == key)
    found = connection.execute(select(table).where(mine)).mappings().first()
    if found is not None:
        if found["body_hash"] != digest:
            raise Problem(
                422,
                "idempotency_key_reused",
                "this Idempotency-Key was used with another body",
                "take a new key",
            )
        return json.loads(found["response"])
    made = create()
    kept = {name: None if name in hidden else value for name, value in made.items()}
    connection.execute(
        table.insert().values(
            principal=who, route=route, key=key, body_hash=digest, response=json.dumps(kept), created_s=now_s
        )
    )
    return made
