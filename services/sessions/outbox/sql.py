"""The SQL of the outbox as it ships: tables, functions and a trigger for the application's database."""

from __future__ import annotations

from pathlib import Path
from typing import Final

OUTBOX_SQL: Final = (Path(__file__).parent / "outbox.sql").read_text()
