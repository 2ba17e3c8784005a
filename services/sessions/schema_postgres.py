"""The schema of the read model in PostgreSQL: which revision this version needs, and how the database gets there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from services.chassis.postgres.schema import Schema

SCHEMA: Final = Schema(
    head="0007",
    migrations=Path(__file__).parent / "migrations",
    version_table="alembic_version",
    how="run `python -m services.sessions migrate`, or set sessions.migrate = true",
)
