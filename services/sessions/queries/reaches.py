"""How far back to look for the sessions of a moment: pure.

An answer has the newest sessions first. On a busy system the last day fills a page, and most older sessions have ended.
A bound leaves PostgreSQL few partitions to plan for and to read.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before everything."""

REACHES: Final = (timedelta(days=1), timedelta(days=9), None)
"""Tried one after the other, until a page is full. None: all of the past."""


def before(at: datetime, reach: timedelta | None) -> datetime:
    """The moment `reach` before `at`, `EVER` at the earliest."""
    return EVER if reach is None or at - EVER < reach else at - reach
