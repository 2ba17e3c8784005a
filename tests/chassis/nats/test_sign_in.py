"""Every way to sign in to NATS, at real servers that demand it; and what happens when they do not accept it any more.

The servers are native ones, whatever TEST_BACKEND is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from deploy.processes.ports import free_port
from services.chassis.nats import link as link_module
from services.chassis.nats.link import NatsLink
from services.chassis.nats.settings import NatsSettings
from tests.support.certificates import Authority
from tests.support.edges import api, connected, start_edge
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.nats_identities import USER, Identity, Trust
from tests.support.processes import Services
from tests.support.servers_native import NativeNats

pytestmark = [pytest.mark.integration, pytest.mark.native]

PASSWORD = "p@ss/w:rd?#[%20]é"
TOKEN = "a-token-of-the-tests"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NativeNats]:
    server = NativeNats(tmp_path / "nats")
    yield server
    server.close()


def users(password: str, name: str = "edge") -> str:
    return f'authorization {{ users = [{{user: {name}, password: "{password}"}}] }}\n'


class Ways:
    """The configuration of a server that accepts only one way to sign in, and the settings for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ours = Authority(folder)
        self._certificate, self._key = self._ours.certificate("server")
        self._tls = f'cert_file: "{self._certificate}", key_file: "{self._key}"'

    def user_in_the_url(self, url: str) -> tuple[str, dict[str, str]]:
        return users(PASSWORD), {"url": url.replace("//", f"//edge:{quote(PASSWORD, safe='')}@")}

    def user_and_password(self, url: str) -> tuple[str, dict[str, str]]:
        return users(PASSWORD), {"url": url, "user": "edge", "password": PASSWORD}

    def token(self, url: str) -> tuple[str, dict[str, str]]:
        return f'authorization {{ token: "{TOKEN}" }}', {"url": url, "token": TOKEN}

    def token_in_the_url(self, url: str) -> tuple[str, dict[str, str]]:
        return f'authorization {{ token: "{TOKEN}" }}', {"url": url.replace("//", f"//{TOKEN}@")}

    def nkey(self, url: str) -> tuple[str, dict[str, str]]:
        user = Identity(USER)
        (self._folder / "edge.nk").write_text(user.seed)
        configuration = f"authorization {{ users = [{{nkey: {user.public}}}] }}"
        return configuration, {"url": url, "nkey_file": str(self._folder / "edge.nk")}

    def credentials(self, url: str) -> tuple[str, dict[str, str]]:
        trust = Trust()
        (self._folder / "edge.creds").write_text(trust.creds())
        return trust.configuration, {"url": url, "credentials_file": str(self._folder / "edge.creds")}

    def tls(self, url: str) -> tuple[str, dict[str, str]]:
        settings = {"url": url.replace("nats:", "tls:"), "ca_file": str(self._ours.file)}
        return f"tls {{ {self._tls} }}\n{users(PASSWORD)}", settings | {"user": "edge", "password": PASSWORD}

    def mutual_tls(self, url: str) -> tuple[str, dict[str, str]]:
        certificate, key = self._ours.certificate("edge")
        settings = {"url": url, "ca_file": str(self._ours.file), "cert_file": str(certificate), "key_file": str(key)}
        return f'tls {{ {self._tls}, ca_file: "{self._ours.file}", verify: true }}', settings

    def certificate_tls(self, url: str) -> tuple[str, dict[str, str]]:
        configuration, settings = self.mutual_tls(url)
        user = 'authorization { users = [{user: "CN=edge"}] }'
        return f"{configuration.replace('verify:', 'verify_and_map:')}\n{user}", settings


WAYS = [name for name in vars(Ways) if not name.startswith("_")]


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_to_sign_in_reaches_nats_again_and_again(way: str, server: NativeNats, tmp_path: Path) -> None:
    configuration, settings = getattr(Ways(tmp_path), way)(server.url)
    server.configure(configuration)
    server.start()
    async with linked(NatsSettings(**settings)) as link:
        await link.flush()
        server.kill9()
        await eventually(lambda: not link.is_connected)
        server.start()
        await eventually(link.flush)


@pytest.mark.parametrize("way", WAYS)
async def test_who_signs_in_otherwise_is_told_so_and_nothing_secret(
    way: str, server: NativeNats, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configuration, _ = getattr(Ways(tmp_path), way)(server.url)
    server.configure(configuration)
    server.start()
    settings: dict[str, Any] = {"url": server.url, "user": "stranger", "password": "another-password"}
    if "tls" in way:
        settings["ca_file"] = str(Authority(tmp_path / "others", "others").file)
    link = NatsLink(NatsSettings(**settings), "test")
    opening = asyncio.create_task(link.open())
    try:
        wanted = "certificate" if "tls" in way else "NATS refuses the credentials of user stranger (nats.user)"
        await eventually(lambda: wanted in caplog.text)
        assert "tls" in way or "user stranger (nats.user)" in str(link.problem)
        assert not link.is_connected
    finally:
        opening.cancel()
        await asyncio.wait([opening])
        await link.close()
    assert "another-password" not in caplog.text


async def test_a_certificate_of_nobody_is_refused_by_that_name(
    server: NativeNats, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ways: Any = Ways(tmp_path)
    configuration, settings = ways.certificate_tls(server.url)
    server.configure(configuration.replace("CN=edge", "CN=another"))
    server.start()
    link = NatsLink(NatsSettings(**settings), "test")
    opening = asyncio.create_task(link.open())
    try:
        await eventually(lambda: link.problem is not None)
        assert "the credentials of who has the certificate of nats.cert_file: Auth" in str(link.problem)
    finally:
        opening.cancel()
        await asyncio.wait([opening])
        await link.close()


async def test_a_service_that_is_refused_over_tls_says_that_and_nothing_of_its_sockets(
    server: NativeNats, tmp_path: Path, services: Services
) -> None:
    configuration, settings = Ways(tmp_path).tls(server.url)
    server.configure(configuration)
    server.start()
    variables = {f"FAIRLEAD_NATS_{key.upper()}": value for key, value in settings.items()}
    process = services.start("metrics", variables | {"FAIRLEAD_NATS_PASSWORD": "another-password"})
    await eventually(lambda: "NATS refuses the credentials of user edge (nats.user)" in process.log())
    assert "eof" not in process.log() and "another-password" not in process.log()


async def test_a_refusal_counts_no_more_once_no_server_is_there(
    server: NativeNats, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_module, "_REFUSAL_HOLDS_S", 0.5)
    server.configure(users("first"))
    server.start()
    link = NatsLink(NatsSettings(url=server.url, user="edge", password="another"), "test")
    opening = asyncio.create_task(link.open())
    try:
        await eventually(lambda: link.problem is not None)
        server.stop()
        await eventually(lambda: link.problem is None)
        await eventually(lambda: "waiting for NATS at" in caplog.text)
    finally:
        opening.cancel()
        await asyncio.wait([opening])
        await link.close()


async def test_an_edge_works_for_an_operators_account_with_credentials(
    server: NativeNats, tmp_path: Path, services: Services
) -> None:
    configuration, settings = Ways(tmp_path).credentials(server.url)
    server.configure(configuration)
    server.start()
    edge = await start_edge(
        services, server, "edge-a", FAIRLEAD_NATS_CREDENTIALS_FILE=settings["credentials_file"]
    ).ready()
    async with connected(edge) as client:
        await client.subscribe("chat:x")
        answer = (await api(edge, "publish", {"channel": "chat:x", "data": {"n": 1}})).json()
        assert answer["result"]["offset"] > 0
        assert (await client.push("chat:x"))["pub"]["data"] == {"n": 1}


async def test_a_password_that_is_changed_on_the_server_ends_the_connection_and_not_the_link(
    server: NativeNats, caplog: pytest.LogCaptureFixture
) -> None:
    server.configure(users("first"))
    server.start()
    async with linked(NatsSettings(url=server.url, user="edge", password="first")) as link:
        server.configure(users("second"))
        server.reload()
        refused = "NATS refuses the credentials of user edge (nats.user): Authorization Violation"
        await eventually(lambda: link.problem == refused)
        server.configure(users("first"))
        server.reload()
        await eventually(link.flush)
        assert link.problem is None
    assert caplog.text.count(f"{refused}; asking again until it accepts them") == 1


async def test_a_server_that_is_only_heard_of_gets_the_same_credentials(tmp_path: Path) -> None:
    servers, routes = [NativeNats(tmp_path / name) for name in ("a", "b")], [free_port(), free_port()]
    try:
        for own, other, server in zip(routes, reversed(routes), servers, strict=True):
            cluster = f'name: c, listen: "127.0.0.1:{own}", routes: ["nats://127.0.0.1:{other}"]'
            server.configure(f"{users(PASSWORD)}\nserver_name: n{own}\ncluster {{ {cluster} }}\n")
            server.start()
        url = servers[0].url.replace("//", f"//edge:{quote(PASSWORD, safe='')}@")
        async with linked(url) as link:
            await eventually(lambda: len(link._client.discovered_servers) == 1)
            servers[0].kill9()
            await eventually(lambda: link.disconnects == 1)
            await eventually(link.flush)
            assert link.problem is None
    finally:
        for server in servers:
            server.close()


async def test_credentials_that_expire_are_read_anew_from_their_file(server: NativeNats, tmp_path: Path) -> None:
    trust, path = Trust(), tmp_path / "edge.creds"
    server.configure(trust.configuration)
    server.start()
    path.write_text(trust.creds(lasts_s=2))
    async with linked(NatsSettings(url=server.url, credentials_file=str(path))) as link:
        await link.flush()
        await eventually(lambda: "(nats.credentials_file)" in str(link.problem))
        path.write_text("half a fi")
        await eventually(lambda: "half" not in str(link.problem) and not link.is_connected)
        path.write_text(trust.creds())
        await eventually(link.flush)
        await eventually(lambda: link.problem is None)


async def test_a_password_is_not_sent_where_tls_is_wanted_and_not_offered(
    server: NativeNats, caplog: pytest.LogCaptureFixture
) -> None:
    server.configure(users(PASSWORD))
    server.start()
    settings = NatsSettings(url=server.url.replace("nats:", "tls:"), user="edge", password=PASSWORD)
    link = NatsLink(settings, "test")
    opening = asyncio.create_task(link.open())
    try:
        await eventually(lambda: "it does not offer TLS" in caplog.text)
        assert not link.is_connected
    finally:
        opening.cancel()
        await asyncio.wait([opening])
        await link.close()


async def test_an_error_of_the_server_ends_neither_the_connection_nor_the_link(
    server: NativeNats, caplog: pytest.LogCaptureFixture
) -> None:
    server.configure("max_subscriptions: 3\n")
    server.start()
    async with linked(server.url) as link:
        for number in range(5):
            link.subscribe(f"x.{number}", lambda subject, reply, headers, data: None)
        await eventually(lambda: "NATS says: maximum subscriptions exceeded" in caplog.text)
        await link.flush()
        assert link.disconnects == 0
        server.kill9()
        await eventually(lambda: not link.is_connected)
        server.start()
        await eventually(lambda: link.is_connected)
