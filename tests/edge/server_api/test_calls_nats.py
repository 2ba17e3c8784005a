from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import Struct

from proto import codes
from proto.trace_context import TraceContext
from services.chassis.nats.link import NatsAway, NatsLink, NobodyAnswers
from services.edge.rejection import Rejected
from services.edge.server_api.answers import Empty
from services.edge.server_api.call_failures import Origin
from services.edge.server_api.calls_nats import NatsApi
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


class SlowMethods:
    """Every call takes until `opened` is set; `began` counts them."""

    def __init__(self) -> None:
        self.began = 0
        self.opened = asyncio.Event()

    async def call(self, method: str, body: bytes, origin: Origin, cause: TraceContext | None = None) -> Struct:
        self.began += 1
        await self.opened.wait()
        if method == "fail":
            raise Rejected(codes.NOT_AVAILABLE)
        return Empty()


async def outcome(link: NatsLink, method: str) -> str:
    try:
        return (await link.request(f"api.{method}", b"{}", timeout_s=5))[1].decode()
    except NobodyAnswers:
        return "nobody"
    except NatsAway:
        return "silence"


async def test_a_leaving_edge_answers_requests_already_sent_and_takes_no_more(nats_server):
    async with linked(nats_server.url) as there, linked(nats_server.url) as here:
        methods: Any = SlowMethods()
        api = NatsApi(here, methods)
        api.start()
        await here.flush()
        asks = [asyncio.ensure_future(outcome(there, "publish")) for _ in range(500)]
        await asyncio.sleep(0)  # they are under way
        leaving = asyncio.ensure_future(api.leave(5))
        methods.opened.set()
        await leaving
        outcomes = await asyncio.gather(*asks)
        assert set(outcomes) <= {'{"result":{}}', "nobody"}
        assert outcomes.count('{"result":{}}') == methods.began
        assert await outcome(there, "publish") == "nobody"
        api.start()
        await here.flush()
        assert await outcome(there, "publish") == "nobody", "it has left for good"


async def test_a_leaving_edge_waits_for_requests_in_progress_up_to_a_deadline(nats_server):
    async with linked(nats_server.url) as there, linked(nats_server.url) as here:
        methods: Any = SlowMethods()
        api = NatsApi(here, methods)
        api.start()
        await here.flush()
        ask = asyncio.ensure_future(outcome(there, "fail"))
        await eventually(lambda: methods.began == 1)
        await api.leave(0.05)
        assert not ask.done()
        leaving = asyncio.ensure_future(api.leave(30))
        methods.opened.set()
        await leaving
        assert await ask == '{"error":{"code":108,"message":"not available"}}'
        await api.stop()
