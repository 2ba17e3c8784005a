"""How far back archive and stream reach together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from services.sessions.log_archive_postgres import ArchivedEpoch
from services.sessions.store import Position

SLACK_MS: Final = 60_000
"""How much earlier than its message a fact may be: clocks of edges differ, and facts wait while NATS is away."""


class StreamReach(NamedTuple):
    """The contents of the stream: its epoch, its first and last sequence, and when the first message was stored, in
    Unix milliseconds (0: it is empty)."""

    epoch: str
    first: int
    last: int
    first_at: int


class Reach(NamedTuple):
    """The epochs of the log to fold, in order, each with its last sequence; the sequence and time of the oldest message
    of all (Unix milliseconds, 0 without any); about how many messages there are; and the first and last archived
    sequence of the last epoch, None if it has none."""

    epochs: tuple[Position, ...]
    first: int
    first_at: int
    messages: int
    archived: tuple[int, int] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it begins with the very first message, as far as can be seen."""
        return self.first == 1

    @property
    def told(self) -> str:
        """A sentence for people: since when there are messages, and how many."""
        if not self.first_at:
            return "the session log has no message at all"
        at = datetime.fromtimestamp(self.first_at / 1000, UTC)
        has_archive = self.archived is not None or len(self.epochs) > 1
        what = "the session log and its archive reach" if has_archive else "the session log reaches"
        told = f"{what} back to {at:%Y-%m-%d %H:%M:%S} UTC (message {self.first:,}): about {self.messages:,} messages, "
        told += "each with one fact or several"
        if self.archived is None:
            return f"{told}; of this log none is archived" if has_archive else told
        first, last = self.archived
        return f"{told}; the archive has messages of {first:,} to {last:,}"


def reach_of(archived: Sequence[ArchivedEpoch], stream: StreamReach | None, target: Position) -> Reach:
    """The messages to fold up to the position `target`: earlier epochs first, in the order in which they were
    archived."""
    over = [one for one in archived if one.epoch != target.epoch]
    epochs = (*(Position(one.epoch, one.last) for one in over), target)
    own = next((one for one in archived if one.epoch == target.epoch), None)
    firsts = [(one.first_at, one.first) for one in (*over, *([own] if own else ()))]
    messages = sum(one.last - one.first + 1 for one in over)
    if stream is not None and stream.epoch == target.epoch and stream.first_at and stream.first <= target.sequence:
        firsts.append((stream.first_at, stream.first))
        messages += target.sequence - stream.first + 1
        own_end = stream.first
    else:
        own_end = target.sequence + 1
    if own is not None:
        messages += max(0, min(own.last + 1, own_end) - own.first)
    first_at, first = min(firsts, default=(0, 0))
    return Reach(epochs, first, first_at, messages, None if own is None else (own.first, own.last))
