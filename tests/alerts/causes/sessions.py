"""Causes on the way of session events from edges to PostgreSQL."""

from __future__ import annotations

import asyncio

import nats

from proto import subjects
from tests.alerts.cause import Cause, frozen, nothing
from tests.alerts.load import Crowd
from tests.alerts.stage import Stage
from tests.support.links import linked

ROOM_FOR_EVENTS = ("services/edge/session_log_nats.py", "MAX_WAITING: Final = 250_000", "MAX_WAITING: Final = 200")
"""Where the bound is, as it is, and as it is on the stage of `LOST_EVENTS`."""


async def _write_nonsense_into_the_session_log(stage: Stage) -> None:
    async with linked(stage.nats_url) as link:
        link.publish(subjects.session_events("nobody"), b"nonsense")
        await link.flush()


async def _delete_the_session_log(stage: Stage) -> None:
    client = await nats.connect(stage.nats_url)
    await client.jetstream().delete_stream(subjects.SESSIONS_STREAM)
    await client.close()


async def _leave_while_nats_hangs(stage: Stage) -> None:
    crowd = Crowd()
    await crowd.come(stage, edge=1, count=400)
    await asyncio.sleep(2)  # for their arrival to be stored
    stage.freeze("nats")
    crowd.leave()


async def _go_on(stage: Stage) -> None:
    stage.thaw("nats")


SESSIONS = (
    frozen("postgres", "PostgreSQL hangs", "ProjectionLate", "CapacityHistoryUnavailable"),
    Cause(
        "somebody writes nonsense into the session log",
        ("SessionMessagesUnreadable",),
        _write_nonsense_into_the_session_log,
        nothing,
    ),
    Cause("somebody deletes the session log", ("SessionLogRecreated",), _delete_the_session_log, nothing),
)

LOST_EVENTS = (
    Cause(
        "400 clients leave while NATS hangs, and an edge has room for 200 events (250,000 otherwise)",
        ("SessionEventsDropped",),
        _leave_while_nats_hangs,
        _go_on,
        besides=(
            "NatsDisconnected",
            "EdgeNotReady",
            "NoEdgeReady",
            "PublishesFail",
            "SessionEventsWait",
            "ErrorBudgetBurnsFast (publish)",
            "BackendFails",
        ),
    ),
)
