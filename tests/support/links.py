"""A connection to NATS of a test's own, as services make theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.nats.link import NatsLink
from services.chassis.process.settings import NatsSettings


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[NatsLink]:
    """A link that is open, and closed at the end."""
    link = NatsLink(NatsSettings(url=url), "test")
    await link.open()
    try:
        yield link
    finally:
        await link.close()
