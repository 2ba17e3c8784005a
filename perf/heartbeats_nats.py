"""Listens to the edges' heartbeats on NATS while a run goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import msgspec
import nats
from nats.aio.msg import Msg

from perf.edge_watch import EdgeWatch
from perf.refusal import Refusal
from proto import subjects
from proto.telemetry import HEARTBEAT_INTERVAL_S, LOST_AFTER_S, decode_heartbeat

CONNECT_WITHIN_S = 3.0
_POLL_S = 0.02


@contextlib.asynccontextmanager
async def listening(url: str) -> AsyncIterator[EdgeWatch]:
    """An `EdgeWatch` that has heard every live edge once. Raises `Refusal` when NATS cannot be reached."""
    watch = EdgeWatch()
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # the refusal below says it all, without a traceback
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):  # nats-py tries for minutes, whatever it is told
            client = await nats.connect(url, connect_timeout=1, allow_reconnect=False, name="perf")
    except Exception as error:  # nats-py raises its own, OSError and TimeoutError alike
        raise Refusal(
            f"NATS cannot be reached for the edges' heartbeats ({type(error).__name__}): start the stack (make up), "
            'name it with FAIRLEAD_NATS_URL, or leave the figures of the edges out with --nats-url ""'
        ) from None

    async def hear(message: Msg) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            watch.hear(decode_heartbeat(message.data), time.monotonic())

    try:
        await client.subscribe(subjects.telemetry_of("edge"), cb=hear)
        await asyncio.sleep(HEARTBEAT_INTERVAL_S * 1.5)
        yield watch
    finally:
        await client.close()


async def refreshed(watch: EdgeWatch) -> None:
    """Waits until every edge was heard once more, or must be taken for lost."""
    asked_at = time.monotonic()
    until = asked_at + LOST_AFTER_S
    while (now := time.monotonic()) < until and not watch.fresh_since(asked_at, now):
        await asyncio.sleep(_POLL_S)
