"""The backends that the settings name: each is measured by its name, and a reload exchanges those that differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from msgspec.structs import replace
from nats.aio.msg import Msg

from services.chassis.nats.credential_files import BadFile
from services.chassis.process.settings import Duration
from services.edge.backend import configured_backends
from services.edge.backend.backend import BackendAway, Caller
from services.edge.backend.configured_backends import ConfiguredBackends
from services.edge.backend_settings import BackendSettings, RPCSection
from services.edge.settings import EdgeSettings
from services.edge.tally import Tally
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend
from tests.support.http_backend import Asked, answer, http_double
from tests.support.servers import NatsServer


def told(data: object) -> Callable[[Asked], bytes]:
    return lambda asked: answer({"result": {"data": data}})


@asynccontextmanager
async def configured(*backends: BackendSettings, rpc: str = "app", **more: Any) -> AsyncIterator[ConfiguredBackends]:
    settings = EdgeSettings(backends=list(backends), rpc=RPCSection(backend=rpc))
    own, tally = FunctionBackend(), more.get("tally", Tally())
    made = ConfiguredBackends(settings, own, None, tally, lambda: 0.0, lambda: 0.0)
    made.start()
    try:
        yield made
    finally:
        await made.close()


async def greet(message: Msg) -> None:
    await message.respond(b'{"result":{"data":1}}')


def adopt(made: ConfiguredBackends, *backends: BackendSettings, rpc: str = "app") -> None:
    made.adopt(made.prepared(EdgeSettings(backends=list(backends), rpc=RPCSection(backend=rpc))))


async def call(made: ConfiguredBackends) -> bytes:
    return await made.backends.call("greet", b"", Caller(), 10.0)


async def test_each_backend_is_asked_and_counted_by_its_name() -> None:
    tally = Tally()
    async with (
        http_double(told(1)) as double,
        configured(BackendSettings(name="app", url=double.url), tally=tally) as made,
    ):
        assert made.backends.names == ["nats", "app"]
        assert await call(made) == b"1"
        double.answers, double.closes = lambda asked: b"", True
        with pytest.raises(BackendAway):
            await made.backends.named("app").ask("publish", b"{}", Caller(), 10.0)
        with pytest.raises(BackendAway):
            await made.backends.named("nats").ask("publish", b"{}", Caller(), 10.0)
    assert tally.backend_failures == {("app", "hook.publish", "away"): 1, ("nats", "hook.publish", "no_responders"): 1}
    assert set(tally.timings.backend_seconds.by_label) == {("app", "rpc")}


async def test_a_reload_exchanges_the_backend_whose_table_differs_and_no_other() -> None:
    async with http_double(told("a")) as a, http_double(told("b")) as b:
        app, shop = BackendSettings(name="app", url=a.url), BackendSettings(name="shop", url=b.url)
        async with configured(app, shop) as made:
            assert await call(made) == b'"a"'
            kept = made.backends.named("shop")
            adopt(made, replace(app, url=b.url), shop)
            assert await call(made) == b'"b"'
            assert made.backends.named("shop") is kept
            adopt(made, shop, rpc="shop")
            assert await call(made) == b'"b"' and made.backends.names == ["nats", "shop"]


async def test_a_question_that_was_asked_before_a_reload_is_answered_after_it() -> None:
    may_answer = asyncio.Event()

    async def late(asked: Asked) -> bytes:
        await may_answer.wait()
        return answer({"result": {"data": "late"}})

    async with http_double(late) as a, http_double(told("b")) as b:
        app = BackendSettings(name="app", url=a.url)
        async with configured(app) as made:
            asked = asyncio.create_task(call(made))
            await eventually(lambda: a.asked)
            adopt(made, replace(app, url=b.url))
            assert await call(made) == b'"b"'
            may_answer.set()
            assert await asked == b'"late"'


async def test_a_reload_closes_nothing_of_the_one_after_it(monkeypatch) -> None:
    may_answer = asyncio.Event()

    async def late(asked: Asked) -> bytes:
        await may_answer.wait()
        return answer({"result": {"data": "late"}})

    async with http_double(told("a")) as a, http_double(late) as b, http_double(told("c")) as c:
        app = BackendSettings(name="app", url=a.url)
        async with configured(app) as made:
            await call(made)
            monkeypatch.setattr(configured_backends, "COMMAND_DEADLINE_S", 0.3)
            adopt(made, replace(app, url=b.url))
            asked = asyncio.create_task(call(made))
            await eventually(lambda: b.asked)
            monkeypatch.setattr(configured_backends, "COMMAND_DEADLINE_S", 60.0)
            adopt(made, replace(app, url=c.url))
            await eventually(lambda: a.open == 0)
            may_answer.set()
            assert await asked == b'"late"'


async def test_the_connections_to_a_backend_that_is_gone_are_closed(monkeypatch) -> None:
    monkeypatch.setattr(configured_backends, "COMMAND_DEADLINE_S", 0.0)
    async with http_double(told("a")) as a, configured(BackendSettings(name="app", url=a.url)) as made:
        await call(made)
        assert a.open == 1
        adopt(made, rpc="nats")
        await eventually(lambda: a.open == 0)


async def test_a_backend_that_a_reload_took_away_is_away() -> None:
    async with http_double(told(1)) as double, configured(BackendSettings(name="app", url=double.url)) as made:
        adopt(made, rpc="app")  # `configuration` refuses it; a subscription may still name it
        with pytest.raises(BackendAway, match="there is no backend app any more"):
            await call(made)
        with pytest.raises(BackendAway):
            made.backends.named("app")


async def test_new_settings_that_cannot_be_used_change_nothing(tmp_path) -> None:
    ca = Authority(tmp_path).file
    async with http_double(told(1)) as double, configured(BackendSettings(name="app", url=double.url)) as made:
        other = BackendSettings(name="app", url=double.url, ca_file=str(ca))
        ca.unlink()
        with pytest.raises(BadFile):
            made.prepared(EdgeSettings(backends=[other]))
        assert await call(made) == b"1"


@pytest.mark.integration
async def test_a_backend_on_another_nats_is_away_until_that_is_there(nats_server: NatsServer, caplog) -> None:
    caplog.set_level("INFO")
    nats_server.stop()
    app = BackendSettings(name="app", url=nats_server.url)
    async with configured(app) as made:
        with pytest.raises(BackendAway) as away:
            await call(made)
        assert away.value.cause == "away"
        nats_server.start()
        connection = await nats.connect(nats_server.url)
        await connection.subscribe("rpc.greet", cb=greet)
        await connection.request("rpc.greet", b"1")  # after the subscription, which a ping may overtake
        await eventually(lambda: 'connected to the NATS of the backend "app"' in caplog.text)
        assert await call(made) == b"1"
        await connection.close()


@pytest.mark.integration
async def test_without_its_nats_an_edge_ends_as_fast(nats_server: NatsServer) -> None:
    nats_server.stop()
    async with configured(BackendSettings(name="app", url=nats_server.url)) as made:
        adopt(made, BackendSettings(name="app", url=nats_server.url, timeout=Duration(1)))
