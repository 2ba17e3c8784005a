"""How an export or an erasure reaches the stores: over its own connections, which are open while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.postgres.pool import Pool
from services.sessions.schema_postgres import SCHEMA
from services.sessions.settings import SessionsSettings

_CONNECT_S: Final = 15.0
_CONNECTIONS: Final = 3
"""Connections to PostgreSQL: an export reads rows of one table while it reads those of another."""


class Stores(NamedTuple):
    """Open connections to the stores, and the names of the webhooks, which read the log too."""

    link: NatsLink
    pool: Pool
    webhooks: list[str]


@asynccontextmanager
async def opened(settings: SessionsSettings) -> AsyncIterator[Stores]:
    """The stores. Raises `StoreAway`, `SchemaRefused`, `NatsAway`."""
    await SCHEMA.check(settings.postgres.url)
    link = NatsLink(settings.privacy_nats, f"{settings.name}-privacy", inbox_prefix=subjects.PRIVACY_INBOX)
    try:
        async with asyncio.timeout(_CONNECT_S):
            await link.open()
    except TimeoutError:
        raise NatsAway(link.problem or f"no connection to NATS within {_CONNECT_S:g} s") from None
    try:
        async with Pool(settings.postgres.url, _CONNECTIONS) as pool:
            yield Stores(link, pool, [each.name for each in settings.sessions.webhooks])
    finally:
        await link.close()
