"""Alembic's revisions of the tables in `services.sessions.tables`. Run by `services.sessions.schema_postgres`."""
