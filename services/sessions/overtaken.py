"""Messages of the session log that the log dropped, because of their age or for want of room, before they were folded.
Pure.

Messages that are missing in the midst of the log are no loss: an erasure or an operator deleted them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.sessions.entries import Entry


class Overtaken(NamedTuple):
    """All messages from `first` to `last` (sequences) that are not archived."""

    first: int
    last: int


class OvertakenSoFar(NamedTuple):
    """How many were overtaken in one epoch of the log, between which sequences, and when that was noticed last (Unix
    milliseconds)."""

    messages: int
    first: int
    last: int
    noticed_at: int


def missing(start: int, entries: Sequence[Entry]) -> list[Overtaken]:
    """The stretches from `start` on that are not among these messages, which follow each other."""
    if not entries or entries[-1].sequence - start + 1 == len(entries):
        return []
    found = []
    for entry in entries:
        if entry.sequence > start:
            found.append(Overtaken(start, entry.sequence - 1))
        start = entry.sequence + 1
    return found


def overtaken(stretches: Iterable[Overtaken], begins: int) -> tuple[Overtaken, ...]:
    """What of these stretches is from before the first message of the log, which `begins` there.

    Not one from the very beginning: who starts to follow an old log has lost nothing that he had.
    """
    cut = (one._replace(last=min(one.last, begins - 1)) for one in stretches if one.first > 1)
    return tuple(one for one in cut if one.first <= one.last)
