"""Traefik with the command and the routes of compose.yaml, as a process of this machine, before an edge: with and
without TLS, on both ways in."""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import websockets
import yaml

from deploy.processes.ports import free_port
from deploy.processes.process import Process, Program
from tests.support.certificates import Authority
from tests.support.edges import API_KEY, WireClient, start_edge_in_memory, token
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import Services
from tests.support.source_tree import ROOT
from tests.support.status_recorder import recording, request

pytestmark = pytest.mark.timeout(90)

CONTAINER = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["traefik"]
ROUTES = ROOT / "deploy/traefik/routes"


@dataclass(frozen=True)
class Ways:
    """The ports of a Traefik that runs: HTTP, and TCP passed through."""

    web: int
    sockets: int


def certify(folder: Path) -> None:
    """A certificate of an authority of its own, for 127.0.0.1."""
    made = Authority(folder)
    for file, name in zip(made.certificate("fairlead"), ("tls.crt", "tls.key"), strict=True):
        file.rename(folder / name)
    made.file.rename(folder / "authority.pem")


def command(tls: bool, replaced: Mapping[str, str]) -> list[str]:
    """The container's, with addresses and folders of this machine."""
    filled = [re.sub(r"\$\{TLS:-false\}", str(tls).lower(), argument) for argument in CONTAINER["command"]]
    filled = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", argument) for argument in filled]
    for old, new in replaced.items():
        filled = [argument.replace(old, new) for argument in filled]
    return [str(Path(sys.executable).parent / word) if word == "traefik" else word for word in filled]


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
async def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def ways(tls: bool, services: Services, tmp_path: Path) -> AsyncIterator[Ways]:
    """An edge that listens as a container's does, and its Traefik."""
    clients = free_port()
    settings = {"FAIRLEAD_EDGE_CLIENT_PORT": str(clients), "FAIRLEAD_EDGE_PROXY_PROTOCOL": "true"}
    edge = start_edge_in_memory(services, FAIRLEAD_EDGE_TRUSTED_PROXIES="127.0.0.1", **settings)
    certify(tmp_path / "certificates")
    (tmp_path / "routes").mkdir()
    for file in ROUTES.iterdir():
        routes = re.sub(r"edge-\d:8101", f"127.0.0.1:{edge.port}", file.read_text())
        routes = re.sub(r"edge-\d:8151", f"127.0.0.1:{clients}", routes)
        routes = routes.replace("/etc/traefik/certificates", str(tmp_path / "certificates"))
        (tmp_path / "routes" / file.name).write_text(routes)
    found = Ways(free_port(), free_port())
    replaced = {"0.0.0.0:8000": f"127.0.0.1:{found.web}", "0.0.0.0:8002": f"127.0.0.1:{found.sockets}"}
    replaced |= {"127.0.0.1:8080": f"127.0.0.1:{free_port()}", ":8082": f"127.0.0.1:{free_port()}"}
    replaced |= {f"/etc/traefik/{name}": str(tmp_path / name) for name in ("routes", "certificates")}
    argv = [sys.executable, "-m", "deploy.traefik", *command(tls, replaced)]
    program = Program("traefik", argv, {"TLS": str(tls).lower()}, folder=ROOT)
    traefik = Process(program, tmp_path / "traefik.log", own_group=True)
    await edge.ready()
    traefik.start()
    try:
        yield found
    finally:
        sys.stdout.write(traefik.last_words())
        traefik.kill()


async def test_clients_talk_by_both_ways_and_a_backend_publishes(tls: bool, ways: Ways, tmp_path: Path) -> None:
    trust = ssl.create_default_context(cafile=str(tmp_path / "certificates/authority.pem")) if tls else None
    secure = "s" if tls else ""

    async def publish(number: int) -> None:
        async with http_client(verify=trust or False, headers={"X-API-Key": API_KEY}) as http:
            url = f"http{secure}://127.0.0.1:{ways.web}/api/publish"
            answer = await http.post(url, json={"channel": "live:x", "data": number})
        assert answer.status_code == 200

    await eventually(lambda: publish(0))
    for port in (ways.web, ways.sockets):
        async with websockets.connect(f"ws{secure}://127.0.0.1:{port}/connection/websocket", ssl=trust) as socket:
            client = WireClient(socket)
            assert "connect" in await client.ask(connect={"token": token("alice")})
            assert "subscribe" in await client.ask(subscribe={"channel": "live:x"})
            await publish(port)
            assert await client.publications("live:x", 1) == [port]


async def test_with_tls_no_way_in_takes_plain_text(tls: bool, ways: Ways) -> None:
    async with http_client() as http:

        async def statuses() -> None:
            urls = [f"http://127.0.0.1:{port}/connection/websocket" for port in (ways.web, ways.sockets)]
            assert [(await http.get(url)).status_code for url in urls] == [404 if tls else 426] * 2

        await eventually(statuses)


@pytest.mark.parametrize("tls", [False], indirect=True)
async def test_while_the_file_of_routes_is_away_or_empty_nobody_gets_404(tls: bool, ways: Ways, tmp_path: Path) -> None:
    """Editors replace a file in more than one step, and Traefik reads it in between."""
    asked = {
        "/connection/websocket": ways.web,
        "/api/publish": ways.web,
        "/sessions": ways.web,
        "/readyz": ways.sockets,
    }
    clients = [request(port, path, headers={"X-API-Key": API_KEY}) for path, port in asked.items()]
    routes = tmp_path / "routes/fairlead.yaml"

    async def all_get(*wanted: str) -> None:
        assert [await client.ask() for client in clients] == list(wanted)

    as_usual, away = ("426", "405", "502", "200"), ("502", "502", "502", "closed")  # no sessions service runs here
    await eventually(lambda: all_get(*as_usual))
    async with recording(*clients):
        whole = routes.read_text()
        for replaced in (lambda: routes.write_text(""), routes.unlink):
            replaced()
            await eventually(lambda: all_get(*away))
            routes.write_text(whole)
            await eventually(lambda: all_get(*as_usual))
    for client in clients:
        assert "404" not in client.seen
