"""What makes each alert fire on a real stack, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import nats

from proto import subjects
from tests.alerts.stage import Stage
from tests.support.links import linked

Step = Callable[[Stage], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Cause:
    """`what` is made by `make` and ended by `undo`; these alerts are to fire in between, and to be silent after.

    Those of `lasting` fire as well; they look so far back that nobody waits for their end.
    """

    what: str
    alerts: tuple[str, ...]
    make: Step
    undo: Step
    lasting: tuple[str, ...] = ()


async def nothing(stage: Stage) -> None:
    """The cause ends by itself."""


def frozen(name: str, what: str, *alerts: str, lasting: tuple[str, ...] = ()) -> Cause:
    async def make(stage: Stage) -> None:
        stage.freeze(name)

    async def undo(stage: Stage) -> None:
        stage.thaw(name)

    return Cause(what, alerts, make, undo, lasting)


def killed(name: str, times: int, what: str, *alerts: str) -> Cause:
    async def make(stage: Stage) -> None:
        await stage.kill(name, times)

    return Cause(what, alerts, make, nothing)


async def _freeze_for_three_seconds(stage: Stage) -> None:
    stage.freeze("edge-1")
    await asyncio.sleep(3)
    stage.thaw("edge-1")


async def _take_descriptors(stage: Stage) -> None:
    stage.limit_descriptors("edge-1", int(stage.checkout.process("edge-1").num_fds() * 1.2))


async def _give_descriptors(stage: Stage) -> None:
    stage.limit_descriptors("edge-1", None)


async def _write_nonsense_into_the_session_log(stage: Stage) -> None:
    async with linked(stage.nats_url) as link:
        link.publish(subjects.session_events("nobody"), b"nonsense")
        await link.flush()


async def _delete_the_session_log(stage: Stage) -> None:
    client = await nats.connect(stage.nats_url)
    await client.jetstream().delete_stream(subjects.SESSIONS_STREAM)
    await client.close()


CAUSES = (
    frozen("edge-2", "an edge hangs (SIGSTOP)", "EdgeDown", "EdgeLost"),
    killed("edge-2", 1, "an edge is killed (SIGKILL)", "EdgeLost"),
    Cause("an edge stands still for 3 s", ("LoopLags",), _freeze_for_three_seconds, nothing),
    frozen(
        "nats",
        "NATS hangs while clients publish",
        "NatsDisconnected",
        "EdgeNotReady",
        "NoEdgeReady",
        "PublishesFail",
        lasting=("ErrorBudgetBurnsFast",),
    ),
    killed("nats", 3, "NATS is killed three times", "NatsDropsEdge"),
    frozen("traefik", "Traefik hangs", "TraefikDown"),
    frozen("sessions", "the sessions service hangs", "ProcessDown"),
    frozen("postgres", "PostgreSQL hangs", "ProjectionLate"),
    killed("metrics", 3, "the metrics service is killed three times", "ProcessRestarts"),
    Cause("few descriptors are left", ("DescriptorsNearlyUsed",), _take_descriptors, _give_descriptors),
    Cause(
        "somebody writes nonsense into the session log",
        ("SessionMessagesUnreadable",),
        _write_nonsense_into_the_session_log,
        nothing,
    ),
    Cause("somebody deletes the session log", ("SessionLogMadeAnew",), _delete_the_session_log, nothing),
)
