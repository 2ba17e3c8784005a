"""What rebuilding and comparing work with: NATS, the live tables, and an empty schema beside them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.postgres.pool import Database, Pool
from services.sessions.log_archive_postgres import LogArchive
from services.sessions.log_nats import SessionLog
from services.sessions.printing import print_line
from services.sessions.rebuilding.bar import Bar
from services.sessions.rebuilding.beside_postgres import Beside, schema_beside
from services.sessions.rebuilding.model_tables import ALL, tables_of
from services.sessions.rebuilding.reach import Reach
from services.sessions.rebuilding.refolding import Refolding
from services.sessions.rebuilding.swap_postgres import Live, letters_of
from services.sessions.schema_postgres import SCHEMA
from services.sessions.settings import SessionsSection, SessionsSettings
from services.sessions.store import ORIGIN
from services.sessions.store_postgres import PostgresStore

_CONNECT_S: Final = 15.0
_CONNECTIONS: Final = 4
"""Connections to the live tables: one keeps erasures away, one holds the position, one has the snapshot of a
comparison, one reads the archive."""
_CONNECTIONS_BESIDE: Final = 2


class NotRebuilt(Exception):
    """The rebuild or comparison was refused. The text says why, and what to do; the live tables are unchanged."""


@dataclass(frozen=True)
class Workshop:
    """What rebuilding and comparing work with: connections to the live tables, and an empty schema beside them."""

    pool: Pool
    schemas: Beside
    live: Live
    refolding: Refolding
    bar: Bar
    settings: SessionsSection

    async def begin(self) -> Reach:
        """How far back the log reaches, which is also printed. Raises `NotRebuilt` if nothing was ever folded."""
        target = await self.live.position()
        reach = await self.refolding.reach(target)
        if target == ORIGIN or not (target.sequence or reach.messages):
            raise NotRebuilt("the sessions service has not folded anything yet")
        self.bar.begin(reach.messages)
        print_line(reach.told)
        return reach

    async def check_letters(self, database: Database) -> None:
        """Raises `NotRebuilt` if a message was left out whose facts may be in the live tables by now."""
        if not self.refolding.left_out <= (await letters_of(database)).keys():
            raise NotRebuilt("a dead letter was replayed or deleted meanwhile: run the command again")


@asynccontextmanager
async def workshop(settings: SessionsSettings) -> AsyncIterator[Workshop]:
    """Opens a workshop. Raises `StoreAway`, `SchemaRefused` and `NatsAway`."""
    url, name = settings.postgres.url, f"{settings.name}-rebuild"
    await SCHEMA.check(url)
    link = NatsLink(settings.nats, name, inbox_prefix=subjects.inbox_prefix("sessions"))
    bar = Bar(_tell, sys.stderr.isatty(), time.monotonic)
    try:
        try:
            async with asyncio.timeout(_CONNECT_S):
                await link.open()
        except TimeoutError:
            raise NatsAway(link.problem or f"no connection to NATS within {_CONNECT_S:g} s") from None
        async with (
            Pool(url, _CONNECTIONS) as pool,
            schema_beside(url) as schemas,
            Pool(schemas.url, _CONNECTIONS_BESIDE) as beside,
        ):
            log = SessionLog(link, settings.sessions.log_max_age, settings.sessions.log_max_bytes)
            store = PostgresStore(beside, int(settings.sessions.resume_window * 1000))
            live = Live(pool, schemas)
            await live.make_same_parts(tables_of(ALL))
            refolding = Refolding(store, LogArchive(pool), log, live.letters, bar.told)
            yield Workshop(pool, schemas, live, refolding, bar, settings.sessions)
    finally:
        bar.end()
        await link.close()


def _tell(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
