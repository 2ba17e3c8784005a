"""Causes at edges: hung, killed, uneven, saturated, slow to leave."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import nats
import psutil

from proto import subjects
from tests.alerts.cause import Cause, frozen, killed, nothing
from tests.alerts.load import Crowd, call_much
from tests.alerts.stage import Stage


async def _freeze_for_three_seconds(stage: Stage) -> None:
    stage.freeze("edge-1")
    await asyncio.sleep(3)
    stage.thaw("edge-1")


async def _stand_still_in_a_drain(stage: Stage) -> None:
    """An edge with 20 clients, of which it closes 5 a second, is told to stop, and 2 s later stands still for 12 s: the
    others take it for lost."""
    crowd = Crowd()
    await crowd.come(stage, edge=2, count=20)
    process = stage.checkout.process("edge-2")
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.sleep(2)  # for it to have told that it drains
        process.suspend()
        await asyncio.sleep(12)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
        crowd.leave()


async def _publish_in_bursts(stage: Stage) -> None:
    """12 MB at once into a channel with 50 subscribers at one edge, every 5 s."""
    crowd = Crowd()
    client = await nats.connect(stage.nats_url)
    try:
        await crowd.come(stage, edge=1, count=50, channels=("live:burst",))
        while True:
            for _ in range(200):
                await client.publish(subjects.ephemeral("live:burst"), b'"' + b"x" * 60_000 + b'"')
            await client.flush(timeout=30)
            await asyncio.sleep(5)
    finally:
        crowd.leave()
        await client.close()


async def _crowd_one_edge(stage: Stage) -> None:
    crowd = Crowd()
    try:
        await crowd.come(stage, edge=1, count=1100)
        await asyncio.Event().wait()
    finally:
        crowd.leave()


async def _saturate(stage: Stage) -> None:
    """A closed loop: however slow the edge is, it is never given more than it can do."""
    await call_much(stage, edge=1, callers=96)


STANDS_STILL = Cause("an edge stands still for 3 s", ("LoopLags",), _freeze_for_three_seconds, nothing)

EDGES = (
    frozen("edge-2", "an edge hangs (SIGSTOP)", "EdgeDown", "EdgeLost", besides=("LoopLags", "EdgeNotReady")),
    Cause(
        "an edge stands still for 12 s while it drains",
        ("DrainTooLong",),
        _stand_still_in_a_drain,
        nothing,
        besides=(
            "EdgeDown",
            "EdgeLost",
            "LoopLags",
            "ProcessRestarts",
            "PublishesFail",
            "ErrorBudgetBurnsFast (publish)",
        ),
    ),
    Cause(
        "12 MB within a second into a channel without history, 50 subscribers",
        ("FanOutDrops",),
        _publish_in_bursts,
        nothing,
        besides=("LoopLags",),
    ),
    killed("edge-2", 1, "an edge is killed (SIGKILL)", "EdgeLost"),
    STANDS_STILL,
)

UNEVEN = Cause("1,100 clients come to one of two edges", ("EdgesUneven",), _crowd_one_edge, nothing)

SATURATED = Cause(
    "96 backends publish at one edge, each as soon as its last call is answered",
    ("EdgeSaturated",),
    _saturate,
    nothing,
    besides=("LoopLags",),
)
