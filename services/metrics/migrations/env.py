"""Alembic's entry: runs the revisions on the connection that it is given."""

from alembic import context

from services.metrics import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.METADATA,
    version_table=context.config.attributes["version_table"],
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
