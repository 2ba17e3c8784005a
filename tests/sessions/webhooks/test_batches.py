"""Requests are bounded, together they have every event once, and after each of them one can go on from its cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.events import EventBatch, Opened
from services.sessions.entries import Entry
from services.sessions.webhooks import batches as module
from services.sessions.webhooks.batches import Batch, Cursor, batches, pieces
from services.sessions.webhooks.payload import EVENT_TYPES, body_of
from services.sessions.webhooks.tracker import Tracker
from tests.sessions.stories import stories

ALL = frozenset(EVENT_TYPES)


def entries(found: list[EventBatch]) -> list[Entry]:
    """As messages of a log from which some were removed."""
    return [Entry(3 * number + 5, b"", one.instance, one) for number, one in enumerate(found)]


class Stored:
    """What is stored, after each batch."""

    def __init__(self) -> None:
        self.at = Cursor(0)
        self.rows: dict[str, bytes] = {}
        self.writers: dict[str, int] = {}

    def commit(self, batch: Batch) -> None:
        self.at = batch.after
        self.writers |= batch.changes.writers
        for name, row in batch.changes.rows.items():
            if row is None:
                self.rows.pop(name, None)
            else:
                self.rows[name] = row


@given(stories, st.integers(1, 7), st.integers(0, 30))
def test_a_crash_after_any_request_loses_nothing_and_repeats_only_that_request(story, max_events, crash):
    log = entries(story)
    upto = log[-1].sequence if log else 0
    expected = [
        event for one in batches(log, upto, Cursor(0), Tracker({}, {}), ALL, max_events) for event in one.events
    ]
    stored, sent, requests, crashed = Stored(), list[bytes](), 0, False
    while stored.at != Cursor(upto):
        rest = [entry for entry in log if entry.sequence > stored.at.done]
        for one in batches(rest, upto, stored.at, Tracker(stored.rows, stored.writers), ALL, max_events):
            requests += 1
            assert len(one.events) <= max_events
            if requests > crash and not crashed:  # it was sent, and the process died before it could store that
                crashed = True
                break
            sent += one.events
            stored.commit(one)
    assert sent == expected


def test_a_request_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 500)
    opened = [Opened(at=1, connection=f"c{number}", user="u" * 100) for number in range(10)]
    log = entries([EventBatch("edge-1", "i1", 1, list(opened))])
    found = list(batches(log, 5, Cursor(0), Tracker({}, {}), ALL, 1000))
    assert sum(len(one.events) for one in found) == 10
    assert max(len(body_of(one.events)) for one in found) < 600


def test_types_that_nobody_wants_are_not_sent_and_the_position_moves_past_them():
    log = entries([EventBatch("edge-1", "i1", 1, [Opened(at=1, connection="c1")])])
    (only,) = batches(log, 9, Cursor(0), Tracker({}, {}), frozenset({"vacated"}), 100)
    assert only.events == [] and only.after == Cursor(9) and "c1" in only.changes.rows


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 20))
def test_pieces_have_every_message_once_and_are_silent_as_far_as_they_should(sizes, silent_until):
    messages = [
        Entry(number + 1, b"", "i1", EventBatch("e", "i1", number + 1, [Opened(at=1, connection="c")] * size))
        for number, size in enumerate(sizes)
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "MAX_FACTS", 8)
        found = list(pieces(messages, 12, silent_until))
    assert [entry for piece in found for entry in piece.entries] == messages
    assert found[-1].upto == 12
    for piece in found:
        assert all((entry.sequence <= silent_until) == piece.silent for entry in piece.entries)
        assert sum(len(entry.batch.events) for entry in piece.entries[:-1] if entry.batch) < 8
