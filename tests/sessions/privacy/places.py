"""A place where users are erased: stores with an archive, and the sessions service, which read what an edge writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from proto import subjects
from proto.events import EventBatch, Opened, SessionEvent, encode_batch
from services.chassis.nats.link import NatsLink
from services.chassis.nats.streams import store
from services.chassis.postgres.pool import Pool
from services.sessions.privacy.erasure import PATIENCE_S, Erasure
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import unwatched
from tests.sessions.privacy.stores import found_in_jetstream, found_in_postgres
from tests.sessions.running import start
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres


@dataclass
class Place:
    """Stores with an archive, and the sessions service. Ann (c1) and Bob (c2) have connected."""

    link: NatsLink
    pool: Pool
    postgres: Postgres
    _number: int = 0

    async def written(self, *events: SessionEvent) -> None:
        """An edge writes a batch of these facts, and the service folds it."""
        self._number += 1
        batch = encode_batch(EventBatch("edge", "i", self._number, list(events)))
        await store(self.link, subjects.session_events("i"), batch, None)
        await eventually(self._is_folded)

    async def _is_folded(self) -> None:
        database = await asyncpg.connect(self.postgres.url)
        try:
            last = await database.fetchval("SELECT number FROM log_writers WHERE instance = 'i'")
            assert last == self._number
        finally:
            await database.close()

    def erasure(self, user: str, patience_s: float = PATIENCE_S) -> Erasure:
        return Erasure(self.link, self.pool, Person(user), [], unwatched, patience_s)

    async def searched(self, user: str, patience_s: float = PATIENCE_S) -> Erasure:
        """An erasure that has found what there is, and shows it to the operator."""
        erasure = self.erasure(user, patience_s)
        await erasure.search()
        return erasure

    async def erase(self, user: str) -> None:
        await (await self.searched(user)).erase()

    async def where(self, text: str) -> set[str]:
        """The streams and tables that have a text."""
        person = Person(text)
        return await found_in_jetstream(self.link, person) | await found_in_postgres(self.postgres.url, person)


@asynccontextmanager
async def place(services: Services, nats_server: NatsServer, postgres: Postgres) -> AsyncIterator[Place]:
    service = await start(services, nats_server, postgres, SESSIONS_ARCHIVE="true").ready(60)
    async with linked(nats_server.url) as link, Pool(postgres.url, 3) as pool:
        it = Place(link, pool, postgres)
        await it.written(Opened(1_000, "c1", "ann"), Opened(1_001, "c2", "bob"))
        yield it
    assert await service.stop() == 0
