"""Subscribes to the edges' heartbeats on NATS during a run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import msgspec
import nats
from nats.aio.msg import Msg

from perf.errors import Refusal
from perf.servers.edge_watch import EdgeWatch
from proto import subjects
from proto.telemetry import HEARTBEAT_INTERVAL_S, LOST_AFTER_S, decode_heartbeat

CONNECT_WITHIN_S = 3.0
_POLL_S = 0.02


@contextlib.asynccontextmanager
async def listening(url: str) -> AsyncIterator[EdgeWatch]:
    """An `EdgeWatch` that has received a heartbeat of every live edge. Raises `Refusal` if NATS cannot be reached."""
    watch = EdgeWatch()
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # the refusal below is enough, without a traceback
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):  # nats-py tries for minutes, whatever its options say
            client = await nats.connect(url, connect_timeout=1, allow_reconnect=False, name="perf")
    except Exception as error:  # nats-py raises its own, OSError and TimeoutError alike
        raise Refusal(
            f"NATS cannot be reached for the edges' heartbeats ({type(error).__name__}): start the stack (make up), "
            'name it with FAIRLEAD_NATS_URL, or leave the edges\' figures out with --nats-url ""'
        ) from None

    async def receive(message: Msg) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            watch.receive(decode_heartbeat(message.data), time.monotonic())

    try:
        await client.subscribe(subjects.telemetry_of("edge"), cb=receive)
        await asyncio.sleep(HEARTBEAT_INTERVAL_S * 1.5)
        yield watch
    finally:
        await client.close()


async def refreshed(watch: EdgeWatch) -> None:
    """Waits for another heartbeat of every edge, or until the others count as lost."""
    asked_at = time.monotonic()
    until = asked_at + LOST_AFTER_S
    while (now := time.monotonic()) < until and not watch.fresh_since(asked_at, now):
        await asyncio.sleep(_POLL_S)
