"""Every process between a fact and its receiver is killed under load: nothing is lost, or comes out of order."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from proto.events import Closed, Opened, SessionEvent, Subscribed, Unsubscribed, encode_batch
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import start
from tests.sessions.webhooks.receiver import Event, ReceiverProcess, toml
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration

CONNECTIONS: Final = 60
"""Whose lives go on at once, in each round."""

LIFE: Final = [
    "connected",
    "subscribed news",
    "subscribed tea",
    "unsubscribed news",
    "unsubscribed tea",
    "disconnected",
]


def steps(name: str) -> list[SessionEvent]:
    at = int(time.time() * 1000)
    return [
        Opened(at=at, connection=name, user=name),
        Subscribed(at=at, connection=name, channel="news"),
        Subscribed(at=at, connection=name, channel="tea"),
        Unsubscribed(at=at, connection=name, channel="news"),
        Closed(at=at, connection=name, code=1000),
    ]


async def live(edge: EdgeDouble, names: list[str], upto: int = 5) -> None:
    """Their lives, a step of all of them in each message; each is stored, as edges do it, again until NATS has it."""
    for facts in list(zip(*map(steps, names), strict=True))[:upto]:
        batch = edge.batch(*facts)
        await eventually(partial(edge.store, encode_batch(batch), batch.message_id), within_s=30)


def of_round(received: list[Event], number: int) -> list[Event]:
    """What has come of the connections of a round; number -1: what has come of channels."""
    return [one for one in received if one.get("connection", "c-1-").startswith(f"c{number}-")]


def lives(received: list[Event]) -> dict[str, list[str]]:
    """By connection, its events in the order in which they came first."""
    seen: dict[str, Event] = {}
    found: dict[str, list[str]] = {}
    for event in received:
        known = seen.setdefault(event["id"], event)
        assert event == known, "a repetition is the same event"
        if known is event and "connection" in event:
            found.setdefault(event["connection"], []).append(f"{event['type']} {event.get('channel', '')}".strip())
    return found


def began_at(service: ServiceProcess) -> list[str]:
    """The line of its log, which begins with the time, that says when it began to send last; none if never."""
    return [line for line in service.log().splitlines() if "webhook app follows the session log" in line][-1:]


def row(kill: str, sent: int, received: list[Event], lost: int, out_of_order: int) -> str:
    repeated = len(received) - len({one["id"] for one in received})
    return f"| {kill} | {sent} | {len(received)} | {repeated} | {lost} | {out_of_order} |\n"


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_out_of_order_whatever_is_killed(
    services: Services, nats_server: NatsServer, postgres: Postgres, tmp_path: Path
):
    with ReceiverProcess(tmp_path) as receiver:
        config = toml(receiver.url, max_events=25)
        one = await start(services, nats_server, postgres, toml=config).ready()
        await eventually(lambda: "webhook app follows the session log" in one.log())
        other = await start(services, nats_server, postgres, toml=config).ready()

        async def the_sessions_service_that_sends() -> None:
            sends = max((one, other), key=began_at)
            sends.kill9()
            sends.start()

        async def both_sessions_services() -> None:
            for each in (one, other):
                each.kill9()
                each.start()

        async def the_receiver() -> None:
            receiver.kill9()
            await asyncio.to_thread(receiver.start)

        async def nats() -> None:
            await asyncio.to_thread(nats_server.kill9)
            await asyncio.to_thread(nats_server.start)

        async def postgresql() -> None:
            await asyncio.to_thread(postgres.kill9)
            await asyncio.to_thread(postgres.start)

        async def the_edge() -> None:
            killed.die()

        kills: list[Callable[[], Awaitable[None]]] = [
            the_sessions_service_that_sends,
            the_receiver,
            nats,
            both_sessions_services,
            postgresql,
            the_edge,
        ]
        names = {number: [f"c{number}-{each}" for each in range(CONNECTIONS)] for number in range(len(kills))}
        async with EdgeDouble(nats_server.url, "i1") as edge, EdgeDouble(nats_server.url, "i2") as killed:
            for number, kill in enumerate(kills):
                before = len(receiver.received())
                # An edge that is killed has no time to write how its clients end.
                mine = live(killed, names[number], upto=4) if kill is the_edge else live(edge, names[number])
                writing = asyncio.create_task(mine)
                # In the midst of it: after each kill the events of the round before may still be on their way.
                await eventually(partial(receiver.has_more_than, before), within_s=60)
                if kill is the_edge:
                    await writing
                await kill()
                await writing

            async def all_there() -> None:
                arrived = lives(receiver.received())
                assert sum(map(len, arrived.values())) == len(kills) * CONNECTIONS * len(LIFE)

            await eventually(all_there, within_s=90)
        received = receiver.received()
    arrived = lives(received)
    table = (
        "| killed under load | sent | received | repeated, same id | lost | out of order |\n|---|---|---|---|---|---|\n"
    )
    total_out_of_order = 0
    for number, kill in enumerate(kills):
        out_of_order = sum(arrived[name] != LIFE for name in names[number])
        total_out_of_order += out_of_order
        sent, mine_received = CONNECTIONS * len(LIFE), of_round(received, number)
        distinct = len({one["id"] for one in mine_received})
        what = kill.__name__.replace("_", " ")
        table += row(what, sent, mine_received, sent - distinct, out_of_order)
    of_channels = of_round(received, -1)
    firsts = {one["id"]: one for one in of_channels}
    table += row("(of channels)", len(firsts), of_channels, 0, 0)
    sys.stdout.write(table)
    assert total_out_of_order == 0
    kinds = Counter(one["type"] for one in firsts.values())
    assert kinds["occupied"] == kinds["vacated"] > 0
    ended = {one["code"] for one in of_round(received, len(kills) - 1) if one["type"] == "disconnected"}
    assert ended == {1006}, "said by the sessions service, as the edge could not"
