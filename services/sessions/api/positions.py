"""How far the rows have come in the log, and whether earlier answers still hold."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from services.sessions.api.parameters import MAX_VALUE
from services.sessions.api.reader_postgres import STATEMENT_S, ReadPool
from services.sessions.projection import NAME
from services.sessions.store import ORIGIN, Position

_PAUSES_S: Final = (0.02, 0.25)

# A session that is away ends when its time has passed: the clock changes answers too, but only at such times. The row
# of the position is written by every transaction that changes rows, even if the position does not move.
_STATE: Final = """
SELECT epoch, sequence, xmin::text AS writer,
    (SELECT max(away_until) FROM sessions WHERE away_until <= now())::text AS ended,
    floor(extract(epoch FROM now()) / 3600)::bigint AS hour
FROM projections WHERE name = $1"""


class Standing(NamedTuple):
    """The position of the rows, and a mark that changes whenever an answer may change."""

    position: Position
    mark: str

    def has(self, wanted: Position) -> bool:
        """Whether the rows have everything up to this position."""
        epoch, sequence = self.position
        return wanted == ORIGIN or (epoch == wanted.epoch and sequence >= wanted.sequence)

    def is_of_another_log(self, wanted: Position) -> bool:
        """Whether the position belongs to another log than the rows, so that they will never reach it."""
        return wanted != ORIGIN and self.position.epoch not in ("", wanted.epoch)


class PositionReader:
    """Reads and awaits positions. Every method raises `StoreAway`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def standing(self) -> Standing:
        """Where the rows stand. Old rows are removed without a trace in the log, so a mark holds an hour at most."""
        async with self._pool.bare() as database:
            row = await database.fetchrow(_STATE, NAME, timeout=STATEMENT_S)
        if row is None:
            return Standing(Position("", 0), "")
        return Standing(Position(row["epoch"], row["sequence"]), f"{row['writer']} {row['ended']} {row['hour']}")

    async def reaches(self, wanted: Position, within_s: float) -> Standing:
        """Where the rows stand once they have reached `wanted`, or after `within_s` seconds, or at once if they never
        will."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + within_s, _PAUSES_S[0]
        while True:
            standing = await self.standing()
            if standing.has(wanted) or standing.is_of_another_log(wanted) or loop.time() + pause > deadline:
                return standing
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSES_S[1])


def position_text(position: Position) -> str:
    """A position as headers and parameters have it: `epoch:sequence`."""
    return f"{position.epoch}:{position.sequence}"


def position_of(written: str) -> Position:
    """The position that `position_text` has written. Raises ValueError."""
    epoch, colon, sequence = written.rpartition(":")
    if not colon or not (sequence.isascii() and sequence.isdigit() and len(sequence) <= 18) or len(written) > MAX_VALUE:
        raise ValueError('expected "epoch:sequence", as the header Fairlead-Position of an answer has it')
    return Position(epoch, int(sequence))
