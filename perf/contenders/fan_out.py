"""Publishing at the most that a system delivers: the next publication goes out when one of the last few has arrived."""

from __future__ import annotations

import asyncio
import contextlib
import time

from perf.contenders.contender import Launch
from perf.contenders.paced_publisher import Publisher, publishing
from perf.contenders.witness import Witness
from perf.payload import payload
from perf.target import Target

WINDOW = 8
"""Publications under way at once: enough that no part of a system waits for the next one, few enough that none of them
is dropped by the queues of 100 messages that Channels has."""

STALLED_S = 3.0
"""Nothing arrives for so long: a publication was lost, and the run goes on without it."""


async def saturate(target: Target, launch: Launch, channel: str, seconds: float, size: int) -> int:
    """How many were published. Raises `PublishFailed`, OSError."""
    async with contextlib.AsyncExitStack() as stack:
        witness = await stack.enter_async_context(Witness(target, launch.dialect, channel))
        backend = None
        if launch.publish is not None:
            backend = await stack.enter_async_context(publishing(launch.publish, WINDOW))
        try:
            return await _pump(witness, backend, channel, time.monotonic() + seconds, size)
        except ExceptionGroup as several:
            raise several.exceptions[0] from None


async def _pump(witness: Witness, backend: Publisher | None, channel: str, until: float, size: int) -> int:
    number = arrived = 0
    async with asyncio.TaskGroup() as under_way:
        while time.monotonic() < until:
            while number - arrived < WINDOW:
                data = payload(size, number, time.monotonic_ns())
                if backend is None:
                    witness.say(data)
                else:
                    under_way.create_task(backend.publish(channel, data))
                number += 1
            arrived = witness.heard if await witness.more(STALLED_S) else number
    return number
