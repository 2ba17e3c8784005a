"""Messages of the session log that were dropped, because of their age or for want of room, or deleted, before they were
folded. Pure.

Erasures delete messages in the middle of the log, but only after they were folded. So a message that is missing after
the position was not folded: PostgreSQL was restored from a backup that is older than an erasure, say. If tables begin
with an old log, that log may lack messages that earlier erasures deleted: this is no loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.sessions.entries import Entry


class Overtaken(NamedTuple):
    """The messages from sequence `first` to `last` that are not archived."""

    first: int
    last: int


class OvertakenSoFar(NamedTuple):
    """How many messages of one epoch of the log were overtaken, between which sequences, and when that was last noticed
    (Unix milliseconds)."""

    messages: int
    first: int
    last: int
    noticed_at: int


def missing(start: int, entries: Sequence[Entry]) -> list[Overtaken]:
    """The stretches from `start` on that are missing among these messages, which are in order."""
    if not entries or entries[-1].sequence - start + 1 == len(entries):
        return []
    found = []
    for entry in entries:
        if entry.sequence > start:
            found.append(Overtaken(start, entry.sequence - 1))
        start = entry.sequence + 1
    return found


def overtaken(stretches: Iterable[Overtaken], begins: int, known_upto: int) -> tuple[Overtaken, ...]:
    """The parts of these stretches that count: everything after `known_upto`, the end of the log when it was first
    read, and up to there only what is older than `begins`, the first message of the log.

    A stretch from the very first message does not count: a service that begins to follow an old log has lost nothing.
    """
    cut = (
        one if one.first > known_upto else one._replace(last=min(one.last, begins - 1))
        for one in stretches
        if one.first > 1
    )
    return tuple(one for one in cut if one.first <= one.last)
