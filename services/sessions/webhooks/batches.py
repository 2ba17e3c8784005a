"""Cuts the events of the log into requests of bounded size, each with the place in the log that it reaches. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Final, NamedTuple

from services.sessions.entries import Entry
from services.sessions.webhooks.payload import encode_event, type_of
from services.sessions.webhooks.tracker import Changes, Tracker

MAX_BODY_BYTES: Final = 256 * 1024
"""Bytes of the events of one request. A single event is always smaller: its fact was in a message of this size."""


MAX_FACTS: Final = 5_000
"""Facts that are turned into events at once, in some ten milliseconds: meanwhile the process does nothing else."""


class Cursor(NamedTuple):
    """How far a webhook has come in the log: through the message `done`, and `part` events into the next one."""

    done: int
    part: int = 0


class Batch(NamedTuple):
    """The events of one request, none if only the position moves; when the first of them happened, in Unix
    milliseconds; where the webhook is afterwards; and the changes by the messages that are done then."""

    events: list[bytes]
    oldest_at: int
    after: Cursor
    changes: Changes


def batches(
    entries: Sequence[Entry], upto: int, at: Cursor, tracker: Tracker, wanted: Set[str], max_events: int
) -> Iterator[Batch]:
    """The events of these messages, which go up to the sequence `upto`, from `at` on. Only types in `wanted` are sent.

    The tracker may be ahead of a batch by the rest of one message.
    """
    events: list[bytes] = []
    size, oldest_at = 0, 0
    rows: dict[str, bytes | None] = {}
    writers: dict[str, int] = {}
    for entry in entries:
        if entry.batch is None:
            continue
        made, changes = tracker.take(entry.batch)
        sent = at.part if entry.sequence == at.done + 1 else 0
        for number, event in enumerate(made):
            if number < sent or type_of(event) not in wanted:
                continue
            encoded = encode_event(event)
            if events and (len(events) >= max_events or size + len(encoded) > MAX_BODY_BYTES):
                yield Batch(events, oldest_at, Cursor(entry.sequence - 1, number), Changes(rows, writers))
                events, size, rows, writers = [], 0, {}, {}
            if not events:
                oldest_at = event.at
            events.append(encoded)
            size += len(encoded)
        rows.update(changes.rows)
        writers.update(changes.writers)
    yield Batch(events, oldest_at, Cursor(upto), Changes(rows, writers))


class Piece(NamedTuple):
    """Messages whose events are made at once, and the sequence up to which they go.

    `silent`: none of these events are sent.
    """

    entries: list[Entry]
    upto: int
    silent: bool


def pieces(entries: Sequence[Entry], upto: int, silent_until: int) -> Iterator[Piece]:
    """These messages, which go up to the sequence `upto`, in pieces. No events of messages up to `silent_until` are
    sent."""
    piece: list[Entry] = []
    facts, silent = 0, bool(entries) and entries[0].sequence <= silent_until
    for entry in entries:
        if facts >= MAX_FACTS or (silent and entry.sequence > silent_until):
            yield Piece(piece, piece[-1].sequence, silent)
            piece, facts, silent = [], 0, entry.sequence <= silent_until
        piece.append(entry)
        facts += 0 if entry.batch is None else len(entry.batch.events)
    yield Piece(piece, upto, silent)
