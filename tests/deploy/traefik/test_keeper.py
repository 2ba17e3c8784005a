"""A real Traefik under its keeper: what clients get while it starts, is killed, and ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from deploy.processes.ports import free_port
from deploy.processes.process import Process, Program
from deploy.traefik import keeper as module
from deploy.traefik.gate import SUPPORTED
from deploy.traefik.keeper import Keeper
from deploy.traefik.standin import ANSWER
from tests.support.eventually import eventually, wait_until
from tests.support.source_tree import ROOT
from tests.support.status_recorder import StatusRecorder, recording, request

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="only Linux lets a program choose between two sockets"),
    pytest.mark.timeout(60),
]

STATIC = """
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
log: {{level: ERROR}}
ping: {{entryPoint: admin, manualRouting: true}}
entryPoints:
  web: {{address: "127.0.0.1:{web}", reusePort: true}}
  admin: {{address: "127.0.0.1:{admin}"}}
providers:
  file: {{filename: "{routes}"}}
"""
ROUTES = """
http:
  routers:
    ready: {{entryPoints: [admin], rule: Path(`/ping`), service: ping@internal}}
    there: {{entryPoints: [web], rule: Path(`/there`), service: there}}
  services:
    there: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{nobody}"}}]}}}}
"""


@pytest.fixture
def web() -> int:
    """The port of Traefik's entry point for clients."""
    return free_port()


@pytest.fixture
def keeper(tmp_path: Path, web: int) -> Iterator[Process]:
    """Traefik with one route, to a server that does not run; not started yet."""
    admin, routes, static = free_port(), tmp_path / "routes.yaml", tmp_path / "traefik.yaml"
    static.write_text(STATIC.format(web=web, admin=admin, routes=routes))
    routes.write_text(ROUTES.format(nobody=free_port()))
    command = [sys.executable, "-m", "deploy.traefik", f"--gate=127.0.0.1:{web}"]
    command += [f"--ready=http://127.0.0.1:{admin}/ping", "--"]
    command += [str(Path(sys.executable).parent / "traefik"), f"--configFile={static}"]
    process = Process(Program("keeper", command, folder=ROOT), tmp_path / "log", own_group=True)
    yield process
    process.kill()


@pytest.fixture
def client(web: int) -> StatusRecorder:
    return request(web, "/there")


def traefik(keeper: Process) -> psutil.Process | None:
    return next(iter(psutil.Process(keeper.pid).children()), None)


def another_runs(keeper: Process, old: psutil.Process) -> bool:
    return traefik(keeper) not in (None, old)


async def passes_on(client: StatusRecorder) -> None:
    """Traefik has its routes: no answer of its server is a 502."""
    assert await client.ask() == "502"


async def test_nobody_gets_404_while_traefik_starts_and_is_killed_again_and_again(
    keeper: Process, client: StatusRecorder, web: int
) -> None:
    others = [request(web, "/there") for _ in range(4)]
    keeper.start()
    async with recording(*others):
        await eventually(lambda: passes_on(client))
        for _ in range(3):
            running = traefik(keeper)
            assert running is not None
            running.kill()
            await eventually(partial(another_runs, keeper, running))
            await eventually(lambda: passes_on(client))
    seen = sum((other.seen for other in others), start=type(client.seen)())
    assert seen["503"] > 0 and seen["502"] > 0
    assert seen["404"] == 0
    assert await request(web, "/elsewhere").ask() == "404"


async def test_traefik_ends_with_its_keeper(keeper: Process, client: StatusRecorder) -> None:
    keeper.start()
    await eventually(lambda: passes_on(client))
    running = traefik(keeper)
    assert running is not None

    keeper.send_signal(signal.SIGKILL)
    assert keeper.wait(within_s=5) == -signal.SIGKILL

    wait_until(lambda: not running.is_running(), "the end of Traefik")
    assert await client.ask() == "ConnectionRefusedError"
    keeper.start()
    await eventually(lambda: passes_on(client))
    assert keeper.stop(within_s=10) == 0


async def test_a_mistake_in_the_configuration_ends_it_with_an_error(keeper: Process, tmp_path: Path) -> None:
    (tmp_path / "traefik.yaml").write_text("entryPoints: 5\n")
    keeper.start()
    assert keeper.wait(within_s=20) == 1
    assert "before it had its routes" in keeper.log_text()


async def test_who_connects_and_says_nothing_is_let_go(keeper: Process, web: int, tmp_path: Path) -> None:
    """And a TLS handshake, for which nobody here has a certificate, is ended, not answered."""
    (tmp_path / "routes.yaml").unlink()  # so it is never ready
    keeper.start()
    client = request(web, "/there")
    await eventually(lambda: _got(client, "503"))
    assert await StatusRecorder(web, b"\x16\x03\x01\x00\x05hello").ask() == "closed"
    assert await StatusRecorder(web, b"").ask() == "closed"
    with socket.create_connection(("127.0.0.1", web)):
        assert await request(web, "/there").ask() == "503"
        assert keeper.stop(within_s=10) is not None
    assert "Traceback" not in keeper.log_text()


async def test_who_asks_slowly_is_answered(keeper: Process, web: int, tmp_path: Path) -> None:
    """In parts, with a body that comes later, with an end in place of an empty line: an answer is not lost by that."""
    (tmp_path / "routes.yaml").unlink()
    keeper.start()
    await eventually(lambda: _got(request(web, "/there"), "503"))
    for parts in (
        (b"GET / HT", b"TP/1.1\r\nHost: x\r\n\r", b"\n"),
        (b"POST / HTTP/1.1\r\n\r\n", b"x" * 300_000),
        (b"GET /",),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", web)
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.write_eof()
        assert await reader.read() == ANSWER
        writer.close()


async def test_a_traefik_that_gets_no_routes_is_said_and_a_stop_before_its_start_ends_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_SAY_S", (0.0, 60.0))
    never_ready = Keeper(["sleep", "60"], [], f"http://127.0.0.1:{free_port()}/ping")
    running = asyncio.ensure_future(never_ready.run())
    await eventually(lambda: "Traefik has had no routes for 0 s, and clients get 503" in caplog.text)
    never_ready.stop()
    assert await running == -signal.SIGTERM

    stopped = Keeper(["sleep", "60"], [], "http://127.0.0.1:1/ping")
    stopped.stop()
    async with asyncio.timeout(10):
        assert await stopped.run() == -signal.SIGTERM


async def _got(client: StatusRecorder, status: str) -> None:
    assert await client.ask() == status
