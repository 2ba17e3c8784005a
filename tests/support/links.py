"""A connection to NATS of a test's own, as services make theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proto import subjects
from services.chassis.nats.link import NatsLink
from services.chassis.nats.settings import NatsSettings


@asynccontextmanager
async def linked(to: str | NatsSettings, inbox_prefix: str = subjects.INBOX) -> AsyncIterator[NatsLink]:
    """A link to a URL or by settings, that is open, and closed at the end."""
    settings = NatsSettings(url=to) if isinstance(to, str) else to
    link = NatsLink(settings, "test", inbox_prefix=inbox_prefix)
    await link.open()
    try:
        yield link
    finally:
        await link.close()
