"""The HTTP clients on bad networks and behind balancers. tests/integration has them on a real edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from fairlead import AsyncFairlead, BadAnswer, CallRefused, Fairlead, Position, Unavailable, client_http

Outcome = httpx.Response | Exception
STORED = b'{"result":{"offset":7,"epoch":"e"}}'
URL = "http://edge.example/"


class Network:
    """Gives the outcomes one after the other, and then the last one again and again."""

    def __init__(self, *outcomes: Callable[[], Outcome]) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        outcome = (self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0])()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def answer(status: int, body: bytes = b"", **headers: str) -> Callable[[], Outcome]:
    return lambda: httpx.Response(status, content=body, headers=headers)


Publish = Callable[..., Awaitable[Position]]


async def blocking(network: Network, timeout_s: float) -> Any:
    with (
        httpx.Client(transport=httpx.MockTransport(network)) as http,
        Fairlead(URL, "a-key", timeout_s=timeout_s, http=http) as fairlead,
    ):
        return await asyncio.to_thread(fairlead.publish, "chat:x", {"n": 1})


async def awaited(network: Network, timeout_s: float) -> Any:
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(network)) as http,
        AsyncFairlead(URL, "a-key", timeout_s=timeout_s, http=http) as fairlead,
    ):
        return await fairlead.publish("chat:x", {"n": 1})


@pytest.fixture(params=[blocking, awaited])
def publish(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_publish_gets_through_with_one_key_when_an_edge_is_back(publish):
    network = Network(
        lambda: httpx.ConnectError("refused"), answer(503), lambda: httpx.ReadTimeout(""), answer(200, STORED)
    )
    assert await publish(network, 5) == Position(7, "e")
    assert len(network.requests) == 4 and len({request.content for request in network.requests}) == 1
    first = network.requests[0]
    assert (str(first.url), first.headers["x-api-key"]) == ("http://edge.example/api/publish", "a-key")


async def test_a_publish_that_does_not_get_through_says_why_in_time(publish):
    network = Network(lambda: httpx.ConnectError("nobody is there"))
    with pytest.raises(Unavailable, match="publish: nobody is there"):
        await publish(network, 0.2)
    assert len(network.requests) > 1


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (answer(401, b'{"error":{"code":401,"message":"expected a key"}}'), CallRefused),
        (answer(302, location="http://elsewhere.example/"), BadAnswer),
        (answer(200, b"<html></html>"), BadAnswer),
        (lambda: httpx.DecodingError("not gzip"), BadAnswer),
    ],
)
async def test_what_stays_so_is_not_asked_again_and_redirects_are_not_followed(publish, outcome, error):
    network = Network(outcome)
    with pytest.raises(error):
        await publish(network, 5)
    assert len(network.requests) == 1


@pytest.mark.parametrize("mistake", [("edge.example", "a-key"), ("ws://edge.example", "a-key"), (URL, "")])
@pytest.mark.parametrize("kind", [Fairlead, AsyncFairlead])
def test_an_address_or_key_that_cannot_be_is_refused_at_once(kind, mistake):
    with pytest.raises(ValueError, match="expected"):
        kind(*mistake)


def test_a_client_of_your_own_stays_open():
    with httpx.Client(transport=httpx.MockTransport(Network(answer(200, STORED)))) as http:
        Fairlead(URL, "a-key", http=http).close()
        assert not http.is_closed


class Drip(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer that never ends; each part of it comes in time."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b" "

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield b" "


async def test_an_answer_that_does_not_end_does_not_hold_the_caller(publish):
    with pytest.raises(Unavailable, match="no whole answer within"):
        await publish(Network(lambda: httpx.Response(200, stream=Drip())), 0.2)


async def test_an_answer_without_measure_is_refused(publish, monkeypatch):
    monkeypatch.setattr(client_http, "_LONGEST_ANSWER", 1000)
    with pytest.raises(BadAnswer, match="longer than 1000 bytes"):
        await publish(Network(lambda: httpx.Response(200, stream=Drip())), 5)
