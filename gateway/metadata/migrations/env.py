"""Runs migrations on the connection that `database.upgrade` hands over; there is no other way in."""

from alembic import context

from gateway.metadata import tables

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=tables.metadata)
with context.begin_transaction():
    context.run_migrations()
