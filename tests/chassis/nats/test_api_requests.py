from __future__ import annotations

import asyncio

import pytest
from nats.js.errors import NotFoundError, ServiceUnavailableError

from services.chassis.nats.api_requests import stream_manager
from services.chassis.nats.inbox import Reply
from services.chassis.nats.link import NatsAway, NobodyAnswers
from services.chassis.nats.stream_making import ensure_stream, stream_config
from tests.support.links import linked

pytestmark = pytest.mark.integration

CONFIG = stream_config("S", "s.*", 3600, 60)


async def test_streams_are_made_changed_and_told_of(nats_server):
    async with linked(nats_server.url) as link:
        with pytest.raises(NotFoundError):
            await link.stream_manager().stream_info("S")
        await ensure_stream(link, CONFIG)
        assert [info.config.name for info in await link.stream_manager().streams_info()] == ["S"]


async def test_a_call_fails_at_once_when_the_connection_drops(nats_server):
    async with linked(nats_server.url) as link:
        nats_server.pause()
        try:
            call = asyncio.ensure_future(link.stream_manager(600).stream_info("S"))
            await asyncio.sleep(0)
            assert not call.done()
        finally:
            nats_server.kill9()
        with pytest.raises(NatsAway, match="the connection dropped"):
            await call


async def test_where_nobody_answers_it_is_an_error_of_jetstream():
    async def ask(subject: str, data: bytes, headers: bytes | None, timeout_s: float) -> Reply:
        raise NobodyAnswers("the subject has no subscriber")

    with pytest.raises(ServiceUnavailableError):
        await stream_manager(ask, 1).stream_info("S")
