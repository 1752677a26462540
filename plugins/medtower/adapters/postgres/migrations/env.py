"""Alembic's entry: runs the migrations on the connection, and in the transaction, that `migrate` holds."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema="medtower",
    transaction_per_migration=False,
)
context.run_migrations()
