"""What memory forgets. That a fold upon it is right: test_store_postgres.py."""

from __future__ import annotations

import pytest

from services.sessions import resident
from services.sessions.resident import Resident
from services.sessions.rows import Channel


def add(rows: Resident, prefix: str, count: int, subscribers: int) -> None:
    for number in range(count):
        rows.add_channel(Channel(f"{prefix}{number}", subscribers, 1, 0, 1, 0, 0))


def test_channels_of_nobody_go_and_those_that_stay_are_not_searched_at_each_commit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resident, "KEPT_CHANNELS", 10)
    rows = Resident(60_000)
    add(rows, "full", 12, 1)
    add(rows, "empty", 3, 0)
    rows.shrink(rows.folds)
    assert len(rows.channels) == 12
    add(rows, "empty", 12, 0)
    kept = rows.channels
    rows.shrink(rows.folds)
    assert rows.channels is kept and len(kept) == 24
    add(rows, "another", 1, 0)
    rows.shrink(rows.folds)
    assert set(rows.channels) == {f"full{number}" for number in range(12)}
    add(rows, "empty", 13, 0)
    rows.shrink(rows.folds - 1)
    assert len(rows.channels) == 25, "the last fold is not stored yet"
