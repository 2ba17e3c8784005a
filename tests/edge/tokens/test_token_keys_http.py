"""Keys from an endpoint, read from a real server on the loopback: rotation, failures, and floods of unknown keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from services.edge.tokens import token_keys_http
from services.edge.tokens.jwks_endpoint_http import DOCUMENT_LIMIT_BYTES
from services.edge.tokens.token_keys import KeySet, UnknownKey
from services.edge.tokens.token_keys_http import QUIET_S, JwksFetcher, LateClient
from services.edge.tokens.tokens import TokenVerifier
from tests.edge.signers import Signer, jwks, signer
from tests.support.eventually import eventually

NOW = 1_767_225_600
OLD, NEW = signer("ES256", "old"), signer("ES256", "new")


class Endpoint:
    """Answers every request with `status` and `body`, when `open` is set; counts them."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.body = jwks(OLD.jwk())
        self.headers = ""
        self.open = asyncio.Event()
        self.open.set()
        self.requests: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await self.open.wait()
            head = (
                f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n{self.headers}\r\n"
            )
            writer.write(head.encode() + self.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the fetcher may hang up early
        finally:
            writer.close()


class Edge:
    """The fetcher of an edge, and a clock that the test moves."""

    def __init__(self, url: str, refresh_s: float = 600) -> None:
        self.now = 1000.0
        self.keys = KeySet(fetched=True, url=url, setting="client.token_jwks_public_endpoint")
        self.client = LateClient(1)
        self.fetcher = JwksFetcher(self.keys, refresh_s, lambda: self.now, self.client)

    async def close(self) -> None:
        await self.fetcher.close()
        await self.client.close()

    def knows(self, by: Signer) -> bool:
        try:
            return TokenVerifier(self.keys).connection(by.token(sub="42"), NOW).user == "42"
        except UnknownKey:
            return False


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    yield Endpoint()


@pytest_asyncio.fixture
async def url(endpoint: Endpoint) -> AsyncIterator[str]:
    server = await asyncio.start_server(endpoint.answer, "127.0.0.1", 0)
    yield f"http://user:hunter2@127.0.0.1:{server.sockets[0].getsockname()[1]}/keys?secret=hunter2"
    endpoint.open.set()
    server.close()
    await server.wait_closed()


@pytest_asyncio.fixture
async def edge(url: str) -> AsyncIterator[Edge]:
    edge = Edge(url)
    yield edge
    await edge.close()


async def test_keys_are_read(edge: Edge, endpoint: Endpoint) -> None:
    assert not edge.knows(OLD)
    assert await edge.fetcher.refresh()
    assert edge.knows(OLD)
    assert endpoint.requests[0].startswith(b"GET /keys?secret=hunter2 HTTP/1.1\r\n")


async def test_reads_and_the_age_of_the_keys_are_reported(edge: Edge, endpoint: Endpoint) -> None:
    edge.now += 5
    assert edge.fetcher.age_s == 5, "since the start"
    assert await edge.fetcher.refresh()
    assert edge.fetcher.age_s == 0
    endpoint.status = "500 Internal Server Error"
    edge.now += 60
    assert not await edge.fetcher.refresh()
    assert edge.fetcher.fetches == {"good": 1, "failed": 1} and edge.fetcher.age_s == 60


async def test_a_new_key_is_read_when_a_token_needs_it_and_the_old_one_ends(edge: Edge, endpoint: Endpoint) -> None:
    await edge.fetcher.refresh()
    assert edge.knows(OLD)
    endpoint.body = jwks(NEW.jwk())
    edge.now += QUIET_S
    assert await edge.fetcher.wanted("new")
    assert edge.knows(NEW)
    assert not edge.knows(OLD)


async def test_a_flood_of_made_up_keys_is_no_flood_of_requests(edge: Edge, endpoint: Endpoint) -> None:
    answers = await asyncio.gather(*(edge.fetcher.wanted(str(number)) for number in range(50)))
    assert all(answers)
    assert len(endpoint.requests) == 1
    edge.now += QUIET_S - 0.1
    assert not any([await edge.fetcher.wanted(str(number)) for number in range(50)])
    assert len(endpoint.requests) == 1
    edge.now += 0.1
    assert await edge.fetcher.wanted("x")
    assert len(endpoint.requests) == 2


async def test_a_client_that_leaves_does_not_end_the_request_of_the_others(edge: Edge, endpoint: Endpoint) -> None:
    endpoint.open.clear()
    first = asyncio.create_task(edge.fetcher.wanted("old"))
    second = asyncio.create_task(edge.fetcher.wanted("old"))
    await eventually(lambda: len(endpoint.requests) == 1)
    first.cancel()
    endpoint.open.set()
    assert await second
    assert edge.knows(OLD)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        ("500 Internal Server Error", jwks(NEW.jwk()), "status 500"),
        ("404 Not Found", b"hunter2", "status 404"),
        ("302 Found", jwks(NEW.jwk()), "status 302"),
        ("204 No Content", b"", "status 204"),
        ("200 OK", b"<html>hunter2</html>", "not JSON"),
        ("200 OK", b'{"keys":"hunter2"}', "expected a JWKS document"),
        ("200 OK", b'{"keys":[' + b" " * DOCUMENT_LIMIT_BYTES + b"]}", f"more than {DOCUMENT_LIMIT_BYTES} bytes"),
        ("hunter2", b"", "RemoteProtocolError"),
    ],
)
async def test_while_the_endpoint_answers_nonsense_the_keys_stay(
    edge: Edge, endpoint: Endpoint, caplog: pytest.LogCaptureFixture, status: str, body: bytes, said: str
) -> None:
    await edge.fetcher.refresh()
    caplog.clear()
    endpoint.status, endpoint.body, endpoint.headers = status, body, "Location: /other\r\n"
    edge.now += QUIET_S
    assert not await edge.fetcher.wanted("new")
    assert edge.knows(OLD)
    (line,) = _own_warnings(caplog)
    assert "client.token_jwks_public_endpoint gives no keys" in line
    assert said in line
    assert "hunter2" not in line


def _own_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == token_keys_http.__name__ and record.levelno >= logging.WARNING
    ]


async def test_an_endpoint_that_cannot_be_reached(unused_tcp_port: int) -> None:
    for url in (f"http://127.0.0.1:{unused_tcp_port}/", "http://127.0.0.1:99999/", "http://[bad/"):
        edge = Edge(url)
        assert not await edge.fetcher.refresh()
        assert not await edge.fetcher.wanted("k")
        await edge.fetcher.close()


async def test_an_endpoint_that_does_not_answer_is_not_waited_for(
    edge: Edge, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edge.fetcher.refresh()
    endpoint.open.clear()
    monkeypatch.setattr(token_keys_http, "FETCH_TIMEOUT_S", 0.01)
    assert not await edge.fetcher.refresh()
    assert edge.knows(OLD)


async def test_keys_that_cannot_be_used_are_named_once(
    edge: Edge, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, token_keys_http.__name__)
    endpoint.body = jwks(OLD.jwk(), {"kty": "oct", "k": "hunter2"})
    await edge.fetcher.refresh()
    await edge.fetcher.refresh()
    assert edge.knows(OLD)
    assert caplog.text.count("keys[1]: is a secret") == 1
    assert "hunter2" not in "".join(r.getMessage() for r in caplog.records if r.name == token_keys_http.__name__)


async def test_an_endpoint_may_withdraw_every_key(
    edge: Edge, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    await edge.fetcher.refresh()
    endpoint.body = jwks()
    assert await edge.fetcher.refresh()
    assert not edge.knows(OLD)
    assert "has no key" in caplog.text


@asynccontextmanager
async def running(edge: Edge) -> AsyncIterator[None]:
    task = asyncio.create_task(edge.fetcher.run())
    yield
    task.cancel()
    await asyncio.wait([task])
    await edge.close()


async def test_it_reads_again_and_again(url: str, endpoint: Endpoint) -> None:
    edge = Edge(url, refresh_s=0.01)
    async with running(edge):
        await eventually(lambda: edge.knows(OLD))
        endpoint.body = jwks(NEW.jwk())
        await eventually(lambda: edge.knows(NEW) and not edge.knows(OLD))


async def test_after_a_failure_it_reads_again_soon(
    url: str, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_keys_http, "RETRY_S", 0.01)
    endpoint.status = "503 Service Unavailable"
    edge = Edge(url, refresh_s=600)
    async with running(edge):
        await eventually(lambda: len(endpoint.requests) > 1)
        endpoint.status = "200 OK"
        await eventually(lambda: edge.knows(OLD))


async def test_after_its_end_nothing_is_read(edge: Edge, endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    endpoint.open.clear()
    waiting = asyncio.create_task(edge.fetcher.wanted("k"))
    await eventually(lambda: len(endpoint.requests) == 1)
    await edge.fetcher.close()
    assert not await waiting
    assert not await edge.fetcher.refresh()
    assert len(endpoint.requests) == 1
    assert _own_warnings(caplog) == []
