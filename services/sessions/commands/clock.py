"""The present, for commands: "now", "14:02" and "1h ago" are relative to it."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)
