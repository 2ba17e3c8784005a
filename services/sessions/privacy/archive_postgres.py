"""The archive of the session log, for erasures and exports: takes rewritten messages, and finds archived ones about a
user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from services.chassis.postgres.pool import Pool
from services.sessions.log_archive_postgres import LogArchive
from services.sessions.privacy.progress import Progress
from services.sessions.privacy.rewriting import Connections
from services.sessions.rows_postgres import moment

_PAGE: Final = 256
_STEP: Final = "log archive"

_READ: Final = """
SELECT sequence, data FROM log_archive WHERE epoch = $1 AND sequence > $2 ORDER BY sequence LIMIT $3"""
_ONE: Final = "SELECT data FROM log_archive WHERE epoch = $1 AND sequence = $2"
_REWRITE: Final = "UPDATE log_archive SET data = $3 WHERE epoch = $1 AND sequence = $2"
_REMOVE: Final = "DELETE FROM log_archive WHERE epoch = $1 AND sequence = $2"
_INSERT: Final = """
INSERT INTO log_archive (epoch, sequence, stored_at, writer, data, stands_in) VALUES ($1, $2, $3, $4, $5, true)"""


class Place(NamedTuple):
    """Where a message was in the log."""

    epoch: str
    sequence: int


class Archived(NamedTuple):
    """A message of the archive."""

    place: Place
    data: bytes


class Archive:
    """Every method raises `StoreAway`."""

    def __init__(self, pool: Pool, progress: Progress) -> None:
        self._pool = pool
        self._progress = progress

    async def put(self, epoch: str, sequence: int, stored_at: int, writer: str, data: bytes) -> None:
        """Replaces the message by these bytes from now on: as long as it is archived, or else as long as the log would
        have kept it. `stored_at`: when NATS stored it, in Unix milliseconds."""
        async with self._pool.database() as database, database.transaction():
            done = await database.execute(_REWRITE, epoch, sequence, data)
            if done.endswith(" 0"):
                await database.execute(_INSERT, epoch, sequence, moment(stored_at), writer, data)

    async def messages(self) -> AsyncIterator[Archived]:
        """All of them, in the order in which they were stored: epochs are random letters, and the fact that tells whose
        a connection is must come before those that only name the connection."""
        done = 0
        for epoch in [each.epoch for each in await LogArchive(self._pool).epochs()]:
            after, left = 0, True
            while left:
                async with self._pool.database() as database:
                    page = await database.fetch(_READ, epoch, after, _PAGE)
                for sequence, data in page:
                    yield Archived(Place(epoch, sequence), data)
                after, left, done = page[-1][0] if page else after, len(page) == _PAGE, done + len(page)
                self._progress(_STEP, done, 0)

    async def search(self, about: Connections) -> list[Place]:
        """Where the messages about the user are. `about` learns of connections."""
        return [one.place async for one in self.messages() if about.rewritten(one.data) is not None]

    async def erase(self, about: Connections, places: list[Place]) -> int:
        """Removes the facts about the user from these messages, the newest first. Returns how many facts that were."""
        removed = 0
        for done, place in enumerate(reversed(places), 1):
            async with self._pool.database() as database:
                data = await database.fetchval(_ONE, *place)
                rewritten = None if data is None else about.rewritten(data)
                if rewritten is None:
                    continue
                if rewritten.data is None:
                    await database.execute(_REMOVE, *place)
                else:
                    await database.execute(_REWRITE, *place, rewritten.data)
                removed += rewritten.removed
            self._progress(_STEP, done, len(places))
        return removed
