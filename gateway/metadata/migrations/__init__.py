"""Versions of the SQL schema, applied by `gateway.metadata.database` (there is no alembic.ini)."""
