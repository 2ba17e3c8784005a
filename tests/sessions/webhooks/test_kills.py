"""Every process between a fact and its receiver is killed under load: nothing is lost, or comes out of order."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from proto.events import Closed, Opened, SessionEvent, Subscribed, Unsubscribed, encode_batch
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import start
from tests.sessions.webhooks.receiver import Event, ReceiverProcess, toml
from tests.support.eventually import eventually
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration

CONNECTIONS = 60
"""Whose lives go on at once, in each round."""

LIFE = [
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


async def live(edge: EdgeDouble, names: list[str]) -> None:
    """Their lives, a step of all of them in each message; each is stored, as edges do it, again until NATS has it."""
    for facts in zip(*map(steps, names), strict=True):
        batch = edge.batch(*facts)
        await eventually(partial(edge.store, encode_batch(batch), batch.message_id), within_s=30)


def first_arrivals(received: list[Event]) -> dict[str, list[str]]:
    """By connection, its events in the order in which they came first."""
    seen: dict[str, Event] = {}
    lives: dict[str, list[str]] = {}
    for event in received:
        known = seen.setdefault(event["id"], event)
        assert event == known, "a repetition is the same event"
        if known is event and "connection" in event:
            lives.setdefault(event["connection"], []).append(f"{event['type']} {event.get('channel', '')}".strip())
    return lives


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_out_of_order_whatever_is_killed(
    services: Services, nats_server: NatsServer, postgres: Postgres, tmp_path: Path
):
    with ReceiverProcess(tmp_path) as receiver:
        service = await start(services, nats_server, postgres, toml=toml(receiver.url, max_events=25)).ready()
        await eventually(lambda: "webhook app follows the session log" in service.log())

        async def restart_service() -> None:
            service.kill9()
            service.start()

        async def restart_receiver() -> None:
            receiver.kill9()
            await asyncio.to_thread(receiver.start)

        async def restart_nats() -> None:
            await asyncio.to_thread(nats_server.kill9)
            await asyncio.to_thread(nats_server.start)

        async def restart_postgres() -> None:
            await asyncio.to_thread(postgres.stop)
            await asyncio.to_thread(postgres.start)

        names: list[str] = []
        kills = [restart_service, restart_receiver, restart_nats, restart_service, restart_postgres, restart_receiver]
        async with EdgeDouble(nats_server.url, "i1") as edge:
            for round_, kill in enumerate(kills):
                mine = [f"c{round_}-{number}" for number in range(CONNECTIONS)]
                names += mine
                before = len(receiver.received())
                writing = asyncio.create_task(live(edge, mine))
                # In the midst of it: after each kill the events of the round before may still be on their way.
                await eventually(partial(receiver.has_more_than, before), within_s=60)
                await kill()
                await writing

            async def all_there() -> None:
                lives = first_arrivals(receiver.received())
                assert sum(map(len, lives.values())) == len(names) * len(LIFE)

            await eventually(all_there, within_s=90)
        received = receiver.received()
    lives = first_arrivals(received)
    out_of_order = [name for name in names if lives[name] != LIFE]
    occupations = [one["type"] for one in {one["id"]: one for one in received}.values() if "connection" not in one]
    distinct = len({one["id"] for one in received})
    sys.stdout.write(
        f"kills {len(kills)}; events of connections {len(names) * len(LIFE)}, lost 0; of channels {len(occupations)}; "
        f"received {len(received)}, distinct {distinct}, repeated with the same id {len(received) - distinct}; "
        f"connections out of order {len(out_of_order)}\n"
    )
    assert out_of_order == []
    assert occupations.count("occupied") == occupations.count("vacated") > 0
