"""Alembic's revisions of the tables in `services.metrics.tables`. Run by `services.chassis.postgres.schema`."""
