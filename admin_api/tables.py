"""Tables of the service. Times are seconds since 1970; secrets stand here as hashes only."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata: Final = MetaData()

# `version` counts changes: it is the ETag.
users: Final = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_s", Float, nullable=False),
)

# The secret has 256 random bits, so that a plain SHA-256 of it is enough.
tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("public_id", String(32), nullable=False, unique=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("created_s", Float, nullable=False),
    Column("created_by", String(80), nullable=False),
    Column("expires_s", Float, nullable=True),
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("csrf_hash", String(64), nullable=False),
    Column("expires_s", Float, nullable=False, index=True),
)

# Of browsers that signed in with a token; they end with it.
token_sessions: Final = Table(
    "token_sessions",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("token_id", Integer, ForeignKey("tokens.id", ondelete="CASCADE"), nullable=False),
    Column("csrf_hash", String(64), nullable=False),
    Column("expires_s", Float, nullable=False, index=True),
)

# `detail`: JSON without secrets. Only the newest are kept.
audit: Final = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at_s", Float, nullable=False),
    Column("principal", String(80), nullable=False),
    Column("address", String(64), nullable=False),
    Column("action", String(40), nullable=False),
    Column("target", String(200), nullable=False),
    Column("detail", Text, nullable=False),
)

# Answers to creations that named an Idempotency-Key; without the secrets that they showed.
idempotency: Final = Table(
    "idempotency",
    metadata,
    Column("principal", String(80), primary_key=True),
    Column("route", String(80), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("response", Text, nullable=False),
    Column("created_s", Float, nullable=False, index=True),
)

# Minutes and hours of the gateway's figures: `data` as in samples.encode.
samples: Final = Table(
    "samples",
    metadata,
    Column("step_s", Integer, primary_key=True),
    Column("at_s", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# What was used in minutes and hours: `body` as in meter.Usage.encode.
meter: Final = Table(
    "meter",
    metadata,
    Column("step_s", Integer, primary_key=True),
    Column("at_s", BigInteger, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)

# Single values, as JSON, each with the count of its changes: price sheet, the meter's position, alert settings.
settings: Final = Table(
    "settings",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("body", Text, nullable=False),
    Column("version", Integer, nullable=False),
)

# What fired; resolved_s is null while it does. Only the newest are kept.
alerts: Final = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rule", String(40), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("text", String(200), nullable=False),
    Column("value", Float, nullable=False),
    Column("fired_s", Float, nullable=False),
    Column("resolved_s", Float, nullable=True, index=True),
)

# `rule`: a name, or * for all.
silences: Final = Table(
    "silences",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rule", String(40), nullable=False),
    Column("until_s", Float, nullable=False),
    Column("why", String(200), nullable=False),
    Column("created_by", String(80), nullable=False),
)

# Who is told of alerts. `body`: JSON of what its kind needs, with secrets that must be sent.
targets: Final = Table(
    "targets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("body", Text, nullable=False),
)

# The queue of messages. state: waiting, sent, given_up.
deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("target", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_s", Float, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("error", Text, nullable=True),
)
