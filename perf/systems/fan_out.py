"""Publishes as much as a system delivers: the next publication is sent when one of the last few has arrived."""

from __future__ import annotations

import asyncio
import contextlib
import time

from perf.load.payload import payload
from perf.load.publish_pool import PublishPool, publish_pool
from perf.load.target import Target
from perf.systems.pacing_subscriber import PacingSubscriber
from perf.systems.system import Launch

WINDOW = 8
"""Publications in flight: enough that no part of a system waits for the next one, few enough that the queues of
Channels, with 100 messages each, drop none of them."""

STALLED_S = 3.0
"""If nothing arrives for this long, a publication was lost, and the run continues without it."""


async def saturate(target: Target, launch: Launch, channel: str, seconds: float, size: int) -> int:
    """Returns how many were published. Raises `PublishFailed`, OSError."""
    async with contextlib.AsyncExitStack() as stack:
        subscriber = await stack.enter_async_context(PacingSubscriber(target, launch.dialect, channel))
        backend = None
        if launch.publish is not None:
            backend = await stack.enter_async_context(publish_pool(launch.publish, WINDOW))
        try:
            return await _pump(subscriber, backend, channel, time.monotonic() + seconds, size)
        except ExceptionGroup as several:
            raise several.exceptions[0] from None


async def _pump(
    subscriber: PacingSubscriber, backend: PublishPool | None, channel: str, until: float, size: int
) -> int:
    number = arrived = 0
    async with asyncio.TaskGroup() as in_flight:
        while time.monotonic() < until:
            while number - arrived < WINDOW:
                data = payload(size, number, time.monotonic_ns())
                if backend is None:
                    subscriber.publish(data)
                else:
                    in_flight.create_task(backend.publish(channel, data))
                number += 1
            arrived = subscriber.received if await subscriber.wait_for_more(STALLED_S) else number
    return number
