"""Work on a channel that several callers wait for. It is done once, and a caller that is cancelled does not end it."""

from __future__ import annotations

import asyncio

from services.edge.broker.broker import BrokerAway


async def shared(task: asyncio.Task[str]) -> None:
    """Waits for `task`, whose result is why it failed, "" when it did not. Raises `BrokerAway` when it failed."""
    await asyncio.wait([task])
    failure = "this edge stops" if task.cancelled() else task.result()
    if failure:
        raise BrokerAway(failure)
