"""compose.yaml as an operator brings it up, under a project name and on a port of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets

from deploy.processes.ports import free_port
from tests.stack.checkout import ROOT
from tests.stack.fairlead import Chatter, Fairlead
from tests.stack.image import IMAGE, TRAEFIK_IMAGE
from tests.support.edges import WireClient, token
from tests.support.eventually import eventually
from tests.support.status_recorder import UPGRADE, recording, request

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


class Compose:
    """One compose project. Raises `subprocess.CalledProcessError` when a command fails."""

    def __init__(self, env_file: Path, project: str) -> None:
        self._prefix = ["docker", "compose", "--project-name", project, "--env-file", str(env_file)]
        # This shell's variables must not override those of .env.
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
        self.variables: dict[str, str] = {}  # they override those of .env

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._prefix, *arguments],
            cwd=ROOT,
            env=self._environ | self.variables,
            capture_output=True,
            text=True,
            timeout=180,
        )
        if done.returncode:
            pytest.fail(f"docker compose {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def exit_code(self, service: str) -> int:
        return int(json.loads(self("ps", "--all", "--format", "json", service).splitlines()[0])["ExitCode"])


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    names = re.findall(r"^([A-Z_]+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    ports = {name: str(free_port()) for name in ("PORT", "SOCKETS_PORT")}
    own = {"FAIRLEAD_IMAGE": IMAGE, "FAIRLEAD_TRAEFIK_IMAGE": TRAEFIK_IMAGE, "SUBNET": "10.213.102.0/24"}
    return {name: secrets.token_hex(24) for name in names} | ports | own


@pytest.fixture(scope="module")
def compose(
    image: str, traefik_image: str, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Compose]:
    env_file = tmp_path_factory.mktemp("compose") / "env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in keys.items()))
    project = Compose(env_file, f"fairlead-test-{os.getpid()}")
    try:
        project("up", "--no-build", "--wait", "--wait-timeout", "120")
        yield project
    finally:
        project("down", "--volumes", "--timeout", "20")


@pytest.fixture
def fairlead(compose: Compose, keys: dict[str, str]) -> Fairlead:
    ports = int(keys["PORT"]), int(keys["SOCKETS_PORT"])
    return Fairlead(*ports, keys["FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY"], keys["FAIRLEAD_HTTP_API_KEY"])


@pytest.mark.parametrize("passed_through", [False, True], ids=["http", "tcp"])
async def test_message_crosses_two_edges_and_a_stopped_edges_client_resumes(
    compose: Compose, fairlead: Fairlead, passed_through: bool
) -> None:
    async def on_each(count: int) -> None:
        assert await fairlead.clients_by_edge() == {"edge-1": count, "edge-2": count}

    async def both_serve() -> None:
        async with fairlead.client("first", passed_through) as one, fairlead.client("second", passed_through) as two:
            await one.join("chat:lobby")
            await two.join("chat:lobby")
            await eventually(lambda: on_each(1), within_s=1)

    await eventually(both_serve, within_s=30)  # Traefik finds out later than Docker that an edge is ready again
    await eventually(lambda: on_each(0))
    async with (
        fairlead.client("alice", passed_through) as alice,
        fairlead.client("bob", passed_through) as bob,
    ):
        await alice.join("chat:lobby")
        await bob.join("chat:lobby")
        await eventually(lambda: on_each(1))
        await alice.publish("across")
        await eventually(lambda: bob.received == ["across"])

        compose("stop", "edge-1")

        assert compose.exit_code("edge-1") == 0
        for number in range(10):
            await fairlead.call("publish", channel="chat:lobby", data=number)
        expected = ["across", *range(10)]
        await eventually(lambda: alice.received == expected and bob.received == expected, within_s=20)
        assert [*alice.resumes, *bob.resumes] == [True]
        await fairlead.call("history_remove", channel="chat:lobby")
    compose("start", "--wait", "edge-1")


async def test_sessions_reach_postgresql(fairlead: Fairlead) -> None:
    async with fairlead.client("carol") as carol:
        await carol.join("chat:lobby")

        async def in_the_table() -> bool:
            return bool((await fairlead.read("/users/carol/sessions"))["sessions"])

        await eventually(in_the_table)


def test_processes_run_without_privileges_and_without_tools(compose: Compose) -> None:
    for name in ("edge-2", "traefik"):
        assert compose("exec", "-T", name, "id", "-u").strip() != "0"
    looked_for = "import shutil; print([t for t in ('pip', 'pip3', 'uv', 'gcc', 'cc') if shutil.which(t)])"
    assert compose("exec", "-T", "edge-2", "python", "-c", looked_for).strip() == "[]"


async def test_a_token_and_a_publication_take_one_command_each(compose: Compose, fairlead: Fairlead) -> None:
    token = compose("exec", "-T", "edge-1", "python", "-m", "services.edge", "token", "dave").strip()
    async with Chatter(fairlead.websocket_url(), token) as dave:
        await dave.join("chat:lobby")
        compose("exec", "-T", "edge-2", "python", "-m", "services.edge", "publish", "chat:lobby", '"hi"')
        await eventually(lambda: dave.received == ["hi"])
    await fairlead.call("history_remove", channel="chat:lobby")


STOPPED_IN_TURN = ("edge-1", "edge-2", "sessions", "metrics", "nats", "postgres", "traefik")
OF_AN_OUTAGE = {"502", "503", "504", "ConnectionRefusedError", "ConnectionResetError", "closed"}


@pytest.mark.parametrize("service", STOPPED_IN_TURN)
async def test_while_a_container_is_stopped_and_started_nobody_gets_404(
    compose: Compose, fairlead: Fairlead, service: str
) -> None:
    key = {"X-API-Key": fairlead.api_key}
    publication = json.dumps({"channel": "live:outages", "data": 1})
    asked = {
        "publish 200": request(fairlead.port, "/api/publish", "POST", key, publication),
        "sessions 200": request(fairlead.port, "/sessions", headers=key),
        "websocket 101": request(fairlead.port, "/connection/websocket", headers=UPGRADE),
        "websocket by TCP 101": request(fairlead.sockets_port, "/connection/websocket", headers=UPGRADE),
    }

    async def everything_works() -> None:
        found = {name: await one.ask() for name, one in asked.items()}
        assert found == {name: name.rpartition(" ")[2] for name in found}

    await eventually(everything_works, within_s=30)
    async with recording(*asked.values()):
        await asyncio.to_thread(compose, "stop", service)
        await asyncio.to_thread(compose, "start", "--wait", service)
        await eventually(everything_works, within_s=30)
    for what, one in asked.items():
        assert set(one.seen) <= OF_AN_OUTAGE | {what.rpartition(" ")[2]}, what


@pytest.fixture
def certificates(compose: Compose, tmp_path: Path) -> Iterator[Path]:
    """The folder with the certificate of docs/containers.md, which Traefik serves meanwhile."""
    folder = tmp_path / "deploy/traefik/certificates"
    folder.mkdir(parents=True)
    certify(tmp_path)
    compose.variables = {"TLS": "true", "TLS_CERTIFICATES": str(folder)}
    compose("up", "--no-build", "--no-deps", "--wait", "traefik")
    yield folder
    compose.variables = {}
    compose("up", "--no-build", "--no-deps", "--wait", "traefik")


def certify(above: Path) -> None:
    """Does what the page says; without root everybody may read the key."""
    page = (ROOT / "docs/containers.md").read_text()
    ((make, own),) = re.findall(
        r"^ +(openssl req .+?)\n +(chown 10001 \S+) +# as root$", page, re.MULTILINE | re.DOTALL
    )
    steps = make, own if os.geteuid() == 0 else own.replace("chown 10001", "chmod 644")
    subprocess.run(["bash", "-ec", "\n".join(steps)], cwd=above, capture_output=True, check=True)


async def test_tls_ends_on_both_ways_in_with_the_certificate_of_the_page(
    compose: Compose, fairlead: Fairlead, certificates: Path
) -> None:
    trust = ssl.create_default_context(cafile=str(certificates / "tls.crt"))
    async with httpx.AsyncClient(trust_env=False, verify=trust) as http:
        url = f"https://localhost:{fairlead.port}"
        await eventually(lambda: _answers(http, f"{url}/openapi.json"), within_s=30)
        for port in (fairlead.port, fairlead.sockets_port):
            address = f"wss://localhost:{port}/connection/websocket"
            async with websockets.connect(address, ssl=trust, proxy=None) as socket:
                client = WireClient(socket)
                assert "connect" in await client.ask(connect={"token": token("erin", fairlead.token_key)})

    old = (certificates / "tls.crt").read_text()
    certify(certificates.parents[2])
    compose("exec", "-T", "traefik", "python", "-m", "deploy.traefik.tls")
    (ROOT / "deploy/traefik/routes/fairlead.yaml").touch()

    def renewed() -> bool:
        return ssl.get_server_certificate(("127.0.0.1", fairlead.sockets_port)) != old

    await eventually(renewed)
    assert ssl.get_server_certificate(("127.0.0.1", fairlead.port)) == (certificates / "tls.crt").read_text()

    (certificates / "tls.key").write_text("not a key")
    with pytest.raises(pytest.fail.Exception, match=r"tls\.key is not the key of"):
        compose("exec", "-T", "traefik", "python", "-m", "deploy.traefik.tls")


async def _answers(http: httpx.AsyncClient, url: str) -> None:
    assert (await http.get(url)).status_code == 200


def test_perf_starts_the_image(image: str) -> None:
    command = [sys.executable, "-m", "perf", "start", "--container", image, "--starts", "1", "--bound", "30"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready after" in done.stdout


def test_missing_secret_is_named_with_what_to_do(tmp_path: Path) -> None:
    empty = tmp_path / "env"
    empty.write_text("")
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("FAIRLEAD_", "POSTGRES_"))}
    done = subprocess.run(
        ["docker", "compose", "--env-file", str(empty), "config", "--quiet"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "FAIRLEAD_HTTP_API_KEY" in done.stderr
    assert "copy .env.example to .env" in done.stderr
