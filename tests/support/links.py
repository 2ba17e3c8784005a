"""A connection to NATS of a test's own, as services make theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.nats.link import NatsLink
from services.chassis.nats.settings import NatsSettings


@asynccontextmanager
async def linked(to: str | NatsSettings) -> AsyncIterator[NatsLink]:
    """A link to a URL or by settings, that is open, and closed at the end."""
    link = NatsLink(NatsSettings(url=to) if isinstance(to, str) else to, "test")
    await link.open()
    try:
        yield link
    finally:
        await link.close()
