"""What clients and backends get through Traefik while a part of the stack is stopped, killed, and started again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import psutil
import pytest

from deploy.local import supervisor
from deploy.local.configuration import socket_path
from tests.stack.checkout import Checkout
from tests.support.eventually import eventually
from tests.support.status_recorder import UPGRADE, StatusRecorder, recording, request

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

STOPPED_IN_TURN = ("edge-1", "edge-2", "sessions", "metrics", "nats", "postgres", "traefik")
OF_A_RESTART = {"502", "503", "504", "ConnectionRefusedError", "ConnectionResetError", "closed"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("outages") / "checkout", edges=2)
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
    async with recording(*asked.values()):
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
    """supervisord would give up a process that has ended four times, each time within a second of its start."""
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
