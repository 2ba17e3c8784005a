"""Each command of each kind is counted once, by what became of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from proto import codes
from services.edge.backend.backend import BackendError, Caller
from services.edge.framing.formats import UNI_SSE
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend


def refuse(data: bytes, caller: Caller | None) -> bytes:
    raise BackendError(1234, "mine")


def counted(edge: TestEdge) -> dict[tuple[str, int], int]:
    """All commands so far, by kind and code."""
    done = Counter({(kind, 0): count for kind, count in edge.tally.commands.items()})
    return dict(done + edge.context.policy.commands)


@pytest.fixture
async def edge() -> TestEdge:
    backend = FunctionBackend({"echo": lambda data, caller: data, "no": refuse})
    return await TestEdge(EdgeCluster(), backend=backend, allow_send=True).start()


async def test_what_is_answered(edge: TestEdge) -> None:
    talk = await connected(edge)
    await talk.subscribe("room:x")
    for request in (
        {"publish": {"channel": "room:x", "data": 1}},
        {"history": {"channel": "room:x"}},
        {"presence": {"channel": "room:x"}},
        {"presence_stats": {"channel": "room:x"}},
        {"rpc": {"method": "echo", "data": 1}},
        {"unsubscribe": {"channel": "room:x"}},
        {"rpc": {"method": "no"}},
        {"rpc": {"method": "nobody"}},
        {"subscribe": {"channel": "caht:x"}},
    ):
        await talk.ask(**request)
    talk.say({"send": {"data": 1}})
    assert counted(edge) == {
        ("connect", 0): 1,
        ("subscribe", 0): 1,
        ("publish", 0): 1,
        ("history", 0): 1,
        ("presence", 0): 1,
        ("presence_stats", 0): 1,
        ("rpc", 0): 1,
        ("unsubscribe", 0): 1,
        ("send", 0): 1,
        ("rpc", 1234): 1,
        ("rpc", 108): 1,
        ("subscribe", 102): 1,
    }


async def test_a_publish_that_the_broker_does_not_take(edge: TestEdge) -> None:
    talk = await connected(edge)
    await talk.subscribe("room:x")
    edge.broker.go_away()
    assert await talk.error(publish={"channel": "room:x", "data": 1}) == 100
    assert counted(edge)["publish", 100] == 1 and ("publish", 0) not in counted(edge)
    assert edge.tally.publishes_failed == {"away": 1}


@pytest.mark.parametrize(
    ("connect", "code"),
    [({"token": "a.b.c"}, codes.INVALID_TOKEN.code), ({"token": token(sub="42", exp=1)}, codes.TOKEN_EXPIRED.code)],
)
async def test_a_connect_that_is_refused_by_a_close_or_an_error(connect: dict[str, Any], code: int) -> None:
    edge = await TestEdge(EdgeCluster(), insecure=False, token_hmac_secret_key=SECRET).start()
    talk = Talk(edge)
    talk.say({"id": 1, "connect": connect})
    await eventually(lambda: counted(edge))
    assert [kind for kind, _ in counted(edge)] == ["connect"] and sum(counted(edge).values()) == 1
    assert code in [found for _, found in counted(edge)]


async def test_commands_that_end_the_connection(edge: TestEdge) -> None:
    Talk(edge).say({"id": 1, "subscribe": {"channel": "room:x"}})
    (await connected(edge)).say({"id": 2, "connect": {}})
    (await connected(edge)).say({"id": 2})
    (await connected(edge)).say({})
    assert counted(edge) == {
        ("subscribe", codes.BAD_REQUEST_CLOSE.code): 1,
        ("connect", 0): 3,
        ("connect", codes.BAD_REQUEST_CLOSE.code): 1,
        ("unknown", codes.BAD_REQUEST_CLOSE.code): 2,
    }


async def test_one_way_connects(edge: TestEdge) -> None:
    Talk(edge, UNI_SSE).connection.connect_received(b"{}")
    Talk(edge, UNI_SSE).connection.connect_received(b'{"token": "a.b.c"}')
    assert counted(edge) == {("connect", 0): 1, ("connect", codes.INVALID_TOKEN.code): 1}
