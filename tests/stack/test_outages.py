"""Three edges, and everything else of the stack, are stopped, killed, drained and started again: what clients and
backends get through Traefik during that, what stock clients receive, and what becomes of their sessions.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial

import psutil
import pytest

from deploy.local import supervisor
from deploy.local.configuration import socket_path
from tests.stack.checkout import Checkout
from tests.stack.fairlead import Chatter, Fairlead
from tests.support.edges import in_seconds, token
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.status_recorder import UPGRADE, StatusRecorder, recording, request
from tests.support.stock_clients import KINDS, StockClient, StockClients, data_of, events_of, sees

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

EDGES = ("edge-1", "edge-2", "edge-3")
STOPPED_IN_TURN = ("edge-1", "edge-2", "sessions", "metrics", "nats", "postgres", "traefik")
OF_A_RESTART = {"502", "503", "504", "ConnectionRefusedError", "ConnectionResetError", "closed"}
CLIENTS = 30


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("outages") / "checkout", edges=len(EDGES))
    made.up()
    yield made
    made.make("down")
    assert made.running() == []


@pytest.fixture
def asked(checkout: Checkout) -> dict[str, StatusRecorder]:
    """By what is asked, and the status that it has when nothing is wrong."""
    fairlead = checkout.fairlead()
    key = {"X-API-Key": fairlead.api_key}
    publication = json.dumps({"channel": "live:outages", "data": 1})
    return {
        "publish 200": request(fairlead.port, "/api/publish", "POST", key, publication),
        "sessions 200": request(fairlead.port, "/sessions", headers=key),
        "websocket 101": request(fairlead.port, "/connection/websocket", headers=UPGRADE),
        "websocket by TCP 101": request(fairlead.sockets_port, "/connection/websocket", headers=UPGRADE),
    }


async def _everything_works(asked: dict[str, StatusRecorder]) -> None:
    found = {name: await one.ask() for name, one in asked.items()}
    assert found == {name: name.rpartition(" ")[2] for name in found}


def _supervisorctl(checkout: Checkout, action: str, name: str) -> None:
    group = "edges:" if name.startswith("edge-") else ""
    command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(checkout.folders.run / "supervisord.conf")]
    subprocess.run([*command, action, group + name], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("name", STOPPED_IN_TURN)
async def test_while_a_process_is_stopped_and_started_nobody_gets_404(
    checkout: Checkout, asked: dict[str, StatusRecorder], name: str
) -> None:
    await eventually(lambda: _everything_works(asked), within_s=30)
    async with recording(*asked.values(), pause_s=0.02):
        await _in_turn(checkout, name)
        await eventually(lambda: _everything_works(asked), within_s=30)
    for what, one in asked.items():
        assert set(one.seen) <= OF_A_RESTART | {what.rpartition(" ")[2]}, what


async def _in_turn(checkout: Checkout, name: str) -> None:
    await asyncio.to_thread(_supervisorctl, checkout, "stop", name)
    await asyncio.to_thread(_supervisorctl, checkout, "start", name)


async def test_a_process_that_is_killed_again_and_again_comes_back(
    checkout: Checkout, asked: dict[str, StatusRecorder]
) -> None:
    """supervisord would give up on a process that has ended four times, each time within a second of its start."""
    socket = socket_path(checkout.folders)

    def traefik() -> supervisor.State:
        return next(one for one in supervisor.states(socket) if one.name == "traefik")

    def another_than(pid: int) -> bool:
        return traefik().pid not in (0, pid)

    for _ in range(5):
        before = traefik()
        psutil.Process(before.pid).kill()
        await eventually(partial(another_than, before.pid), within_s=20)
    await eventually(lambda: _everything_works(asked), within_s=30)


async def sessions(fairlead: Fairlead, users: Sequence[str]) -> list[tuple[str, int, str]]:
    """The state, the number of connections and the edge of every session of these users: there is one for each."""
    found = []
    for user in users:
        (one,) = (await fairlead.read(f"/users/{user}/sessions"))["sessions"]
        found.append((one["state"], one["connection_count"], one["edge"]))
    return found


@pytest.mark.parametrize("killed_too", [["sessions"], ["sessions", "traefik"]], ids=" and ".join)
async def test_thirty_sessions_stay_thirty(checkout: Checkout, killed_too: list[str]) -> None:
    fairlead, run = checkout.fairlead(), uuid.uuid4().hex[:8]
    users = [f"{run}-{number}" for number in range(CLIENTS)]
    async with AsyncExitStack() as stack:
        clients: list[Chatter] = []
        for user in users:
            clients.append(await stack.enter_async_context(fairlead.client(user)))
            await clients[-1].join(f"chat:{run}")

        async def all_open() -> list[tuple[str, int, str]]:
            found = await sessions(fairlead, users)
            assert {state for state, _, _ in found} == {"open"}
            return found

        before = await eventually(all_open, within_s=30)
        edge = before[0][2]
        on_it = [number for number, (_, _, its) in enumerate(before) if its == edge]
        assert 5 <= len(on_it) < CLIENTS, "the balancer spreads them"

        checkout.process(edge).kill()
        await eventually(lambda: any(clients[number].resumes for number in on_it))  # the first one is back
        for name in killed_too:
            checkout.process(name).kill()

        async def gone_on() -> None:
            found = await sessions(fairlead, users)
            assert {state for state, _, _ in found} == {"open"}
            assert all(found[number][1] >= 2 and found[number][2] != "" for number in on_it), "another connection"

        await eventually(gone_on, within_s=60)
        for number in on_it:
            detail = await fairlead.read(f"/users/{users[number]}/sessions")
            (session,) = detail["sessions"]
            parts = (await fairlead.read(f"/sessions/{session['id']}"))["connections"]
            assert parts[-1]["edge"] == edge and parts[-1]["close_reason"] == "edge lost"
            assert parts[-1]["closed_at"] <= parts[-2]["opened_at"], "it ended before its client was back"


@pytest.fixture
async def clients(checkout: Checkout) -> AsyncIterator[dict[str, StockClient]]:
    """Two clients of each kind in the channel chat:stock, one by either way through Traefik."""
    fairlead = checkout.fairlead()
    async with StockClients() as stock:
        made = {}
        for kind, passed_through in itertools.product(KINDS, (False, True)):
            claims = token(kind, fairlead.token_key, exp=in_seconds(600))
            made[f"{kind} {passed_through}"] = stock.make(kind, fairlead.websocket_url(passed_through), token=claims)
        for client in made.values():
            await client.connect()
            await client.subscribe("chat:stock")
        yield made


async def publish(fairlead: Fairlead, first: int, count: int) -> list[int]:
    """Publishes as a backend should: repeats with the same key until it is acknowledged."""
    numbers = list(range(first, first + count))
    for number in numbers:
        call = {"channel": "chat:stock", "data": number, "idempotency_key": str(number)}
        await eventually(partial(fairlead.call, "publish", **call))
    return numbers


async def test_all_get_everything_while_edge_after_edge_is_killed_and_drained(checkout, clients):
    fairlead: Fairlead = checkout.fairlead()
    published = await publish(fairlead, 0, 5)
    for end in ("kill", "terminate"):
        for name in EDGES:
            victim = checkout.process(name)
            getattr(victim, end)()
            published += await publish(fairlead, len(published), 5)
            await eventually(partial(_is_back, checkout, name, victim.pid), within_s=30)
    published += await publish(fairlead, len(published), 5)
    for client in clients.values():
        await sees(client, "publication", "chat:stock", len(published), within_s=30)
        assert data_of(client, "chat:stock") == published
        assert not events_of(client, "disconnected")
        resumed = [event["recovered"] for event in events_of(client, "subscribed") if event["was_recovering"]]
        assert resumed and all(resumed)


async def _is_back(checkout: Checkout, name: str, old_pid: int) -> bool:
    """Whether supervisord has brought the edge back, and it is ready."""
    port = checkout.ports["EDGE_PORT"] + int(name.removeprefix("edge-")) - 1
    async with http_client() as http:
        ready = await http.get(f"http://127.0.0.1:{port}/readyz")
    return checkout.process(name).pid != old_pid and ready.status_code == 200
