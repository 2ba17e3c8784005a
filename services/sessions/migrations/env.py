"""Alembic's entry: runs the revisions on the connection that it is handed."""

from alembic import context
from sqlmodel import SQLModel

from services.sessions import tables

assert tables.SessionRow.metadata is SQLModel.metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    version_table=context.config.attributes["version_table"],
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
