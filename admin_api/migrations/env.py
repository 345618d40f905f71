"""Runs migrations on the connection that `storage.upgrade` hands over; there is no other way in."""

from alembic import context

from admin_api import tables

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=tables.metadata)
with context.begin_transaction():
    context.run_migrations()
