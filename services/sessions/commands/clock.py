"""The present, for commands: what "now", "14:02" and "1h ago" count from."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)
