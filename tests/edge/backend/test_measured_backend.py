"""How long a backend takes, and how it fails: by the call, and nothing of it changes what the caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from services.edge.backend.backend import Backend, BackendAway, BackendError, BadAnswer, Caller
from services.edge.backend.backend_nats import NatsBackend
from services.edge.backend.measured_backend import MeasuredBackend
from services.edge.tally import Tally
from tests.contract.backend import ANYBODY, LONG_S, SHORT_S, BackendContract, echo, failing, never
from tests.edge.server_api.test_methods import Api
from tests.edge.talks import connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.function_backend import Function, FunctionBackend
from tests.support.links import linked


class TestMeasuredBackend(BackendContract):
    @asynccontextmanager
    async def backend(self, rpc: dict[str, Function], hooks: dict[str, Function]) -> AsyncIterator[Backend]:
        yield MeasuredBackend(FunctionBackend(rpc, hooks), Tally())


def unusable(data: bytes, caller: object) -> bytes:
    raise BadAnswer("not for you")


async def test_what_takes_time_and_what_fails_is_counted_by_call() -> None:
    tally = Tally()
    inner = FunctionBackend(
        {"echo": echo, "never": never, "no": failing(1000, "no"), "bad": unusable}, {"connect": never, "publish": echo}
    )
    backend = MeasuredBackend(inner, tally)
    for method in ("echo", "never", "no", "bad", "nobody", "not..a.method"):
        with suppress(BackendAway, BackendError, BadAnswer):
            await backend.call(method, b"", ANYBODY, SHORT_S)
    await backend.ask("publish", b"", None, LONG_S)
    with pytest.raises(BackendAway):
        await backend.ask("connect", b"", None, SHORT_S)
    inner.away = True
    with pytest.raises(BackendAway):
        await backend.ask("publish", b"", None, LONG_S)
    assert tally.backend_failures == {
        ("nats", "rpc", "timeout"): 1,
        ("nats", "rpc", "error"): 1,
        ("nats", "rpc", "bad_answer"): 1,
        ("nats", "rpc", "no_responders"): 1,
        ("nats", "hook.connect", "timeout"): 1,
        ("nats", "hook.publish", "away"): 1,
    }
    seconds = tally.timings.backend_seconds.by_label
    assert {call: histogram.count for (_, call), histogram in seconds.items()} == {
        "rpc": 4,  # not the one to which nobody listens
        "hook.publish": 1,
        "hook.connect": 1,
    }
    assert seconds["nats", "rpc"].sum >= SHORT_S


async def test_a_question_that_ends_with_its_edge_is_no_timeout() -> None:
    tally, asked = Tally(), asyncio.Event()

    async def hang(data: bytes, caller: Caller | None) -> bytes:
        asked.set()
        return await never(data, caller)

    asking = asyncio.create_task(MeasuredBackend(FunctionBackend({"hang": hang}), tally).call("hang", b"", ANYBODY, 30))
    await asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not tally.backend_failures and not tally.timings.backend_seconds.by_label


@pytest.mark.integration
async def test_each_way_in_which_nats_keeps_an_answer_away(nats_server) -> None:
    async with linked(nats_server.url) as link:
        tally = Tally()
        backend = MeasuredBackend(NatsBackend(link, max_in_flight=1), tally)

        async def fail() -> None:
            with pytest.raises(BackendAway):
                await backend.call("x", b"", ANYBODY, SHORT_S)

        await fail()
        link.subscribe("rpc.>", lambda subject, reply, headers, data: None)
        await asyncio.gather(fail(), fail())
        nats_server.kill9()
        await eventually(lambda: not link.is_connected)
        await fail()
        assert tally.backend_failures == {
            ("nats", "rpc", "no_responders"): 1,
            ("nats", "rpc", "timeout"): 1,
            ("nats", "rpc", "busy"): 1,
            ("nats", "rpc", "away"): 1,
        }


async def test_an_answer_that_cannot_be_passed_on_is_counted_by_whoever_decodes_it(cluster: EdgeCluster) -> None:
    edge = await TestEdge(cluster, backend=FunctionBackend({"bytes": lambda data, caller: b"\xff"})).start()
    talk = await connected(edge)
    assert await talk.error(rpc={"method": "bytes"}) == 100
    assert edge.tally.backend_failures == {("nats", "rpc", "bad_answer"): 1}
    assert await Api(edge).error("rpc", method="bytes") == 100
    assert edge.tally.backend_failures == {("nats", "rpc", "bad_answer"): 2}
