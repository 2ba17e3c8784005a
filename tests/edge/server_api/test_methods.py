"""The server API without a transport, on edges in memory. Its effects on clients are tested in tests/integration."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import Raw

from proto import codes
from proto.control import (
    DisconnectUser,
    RefreshUser,
    Selector,
    SendUser,
    SubscribeUser,
    Unknown,
    UnsubscribeUser,
    encode_request,
)
from services.chassis.tracing.span import Tracer
from services.edge.backend.backend import BackendError
from services.edge.broker.broker import BrokerRefused
from services.edge.rejection import Rejected
from services.edge.server_api import methods as api_methods
from services.edge.server_api.answers import METHODS, BadCall, UnknownMethod, encode_answer
from services.edge.server_api.call_failures import CallFailures, Origin
from services.edge.server_api.calls import MAX_CHANNELS, MAX_COMMANDS
from services.edge.server_api.channel_methods import ChannelMethods
from services.edge.server_api.methods import ApiMethods
from services.edge.server_api.user_methods import UserMethods
from tests.support.cluster import START, EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend
from tests.support.namespaces import NAMESPACES

ORIGIN = Origin("http", "192.0.2.1", "tests")


class Api:
    """The server API of one edge. `told` are the failures that it would log: kind, reason, fields."""

    def __init__(self, edge: TestEdge, rpc_timeout_s: float = 0.05, tracer: Tracer | None = None) -> None:
        channels = ChannelMethods(edge.node, lambda: NAMESPACES, max_length=100)
        users = UserMethods(edge.peers, channels, edge.clock.unix)
        self.told: list[tuple[str, str, Mapping[str, object]]] = []
        self.methods = ApiMethods(
            channels,
            users,
            edge.cluster,
            edge.context.backends,
            rpc_timeout_s,
            CallFailures(lambda what, why, fields, *, kind: self.told.append((what, why, fields))),
            edge.tally,
            tracer,
        )

    async def answer(self, method: str, /, **call: Any) -> Any:
        """The answer as its client reads it; an error is one too."""
        try:
            return json.loads(encode_answer(await self.methods.call(method, json.dumps(call).encode(), ORIGIN)))
        except Rejected as rejection:
            return json.loads(encode_answer(rejection))

    async def error(self, method: str, /, **call: Any) -> int:
        code: int = (await self.answer(method, **call))["error"]["code"]
        return code


@pytest.fixture
def cluster() -> EdgeCluster:
    return EdgeCluster()


@pytest.fixture
async def edge(cluster) -> TestEdge:
    return await TestEdge(cluster).start()


@pytest.fixture
def api(edge) -> Api:
    return Api(edge)


# --- what is no call ------------------------------------------------------------------------------------------------


async def test_a_body_of_another_shape_is_told_from_a_call_that_cannot_be_done(api):
    for body in (b"{", b"[]", b"7", b'{"channel": 7}', b'{"channel": "chat:x", "data": "\xff"}', b'{"data":1}'):
        with pytest.raises(BadCall) as bad:
            await api.methods.call("publish", body, ORIGIN)
        assert bad.value.error == codes.BAD_REQUEST
    with pytest.raises(UnknownMethod) as unknown:
        await api.methods.call("shout", b"{}", ORIGIN)
    assert unknown.value.error == codes.METHOD_NOT_FOUND and all(name in str(unknown.value) for name in METHODS)
    assert await api.error("map_publish") == 108 == await api.error("shared_poll_publish")


@pytest.mark.parametrize("call", [{"channel": "live:x"}, {"channel": "chat:x", "skip_history": True}])
async def test_a_publish_without_history_is_answered_when_the_broker_has_it(api, edge, call, monkeypatch):
    """The backend's next publish may come by another edge."""
    arrived = asyncio.Event()

    async def sent_later(*what: object) -> None:
        if what[-1]:  # confirm
            await arrived.wait()

    monkeypatch.setattr(edge.broker, "publish_past_log", sent_later)
    monkeypatch.setattr(edge.broker, "publish", sent_later)
    asked = [
        asyncio.create_task(api.answer("publish", data=1, **call)),
        asyncio.create_task(api.answer("broadcast", data=1, channels=["live:x"])),
    ]
    await settled()
    assert not asked[0].done() and not asked[1].done()
    arrived.set()
    assert await asked[0] == {"result": {}}
    assert await asked[1] == {"result": {"responses": [{"result": {}}]}}


async def test_a_key_that_was_used_long_ago_is_looked_up_and_not_published_twice(api, edge):
    first = await api.answer("publish", channel="chat:x", data=1, idempotency_key="k")
    edge.broker._logs.log("chat").keys._known.clear()  # as after five minutes
    again = await api.answer("publish", channel="chat:x", data=1, idempotency_key="k", key_age=0.0)
    assert again["result"]["offset"] > first["result"]["offset"], "without its age nobody can know"
    edge.broker._logs.log("chat").keys._known.clear()
    assert await api.answer("publish", channel="chat:x", data=1, idempotency_key="k", key_age=400) == first
    unknown = await api.answer("publish", channel="live:x", data=1, idempotency_key="k", key_age=400)
    assert unknown["error"]["code"] == 112 and "may have been published before" in unknown["error"]["message"]
    assert await api.error("publish", channel="chat:x", data=1, idempotency_key="k", key_age=-1) == 107


async def test_numbers_beyond_those_of_streams_are_none(api):
    for since in ({"offset": -1}, {"offset": 2**64}, {"offset": 10**40}, {"offset": 1.5}):
        assert await api.error("history", channel="chat:x", since=since) == 107
    assert "result" in await api.answer("history", channel="chat:x", limit=1, since={"offset": 2**64 - 1})


async def test_the_length_of_a_channel_s_name_is_that_of_the_configuration(api):
    assert "result" in await api.answer("publish", channel="chat:" + "x" * 95, data=1)
    assert await api.error("publish", channel="chat:" + "x" * 96, data=1) == 107


# --- the cluster ----------------------------------------------------------------------------------------------------


async def test_while_the_broker_is_away_it_is_an_internal_error(api, edge):
    edge.broker.go_away()
    for method in ("publish", "history", "history_remove"):
        assert await api.error(method, channel="chat:x", data=1) == 100
    answer = await api.answer("broadcast", channels=["chat:x", "nope:x"], data=1)
    assert [each["error"]["code"] for each in answer["result"]["responses"]] == [100, 102]
    edge.broker.come_back()
    assert "result" in await api.answer("publish", channel="chat:x", data=1)


async def test_a_publication_that_the_broker_refuses_is_beyond_a_limit(api, edge, monkeypatch):
    async def refuse(*_: Any) -> None:
        raise BrokerRefused("the namespace's history_max_bytes are used up")

    monkeypatch.setattr(edge.broker, "publish", refuse)
    assert await api.error("publish", channel="chat:x", data=1) == 106
    ((_, why, fields),) = api.told
    assert why.endswith("the namespace's history_max_bytes are used up") and fields["channel"] == "chat:x"


async def test_a_failure_nobody_thought_of_is_an_internal_error_and_is_logged(api, edge, monkeypatch, caplog):
    async def fail(*_: Any) -> None:
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr(edge.broker, "publish", fail)
    answer = await api.answer("publish", channel="chat:x", data=1)
    assert answer == {"error": {"code": 100, "message": "internal server error"}}
    assert "a secret of ours" in caplog.text


@pytest.mark.parametrize(
    ("method", "call", "asked"),
    [
        ("send", {"data": {"n": 1}}, SendUser(Selector("7"), Raw(b'{"n": 1}'))),
        ("send", {"client": "c", "session": "s", "data": 1}, SendUser(Selector("7", "c", "s"), Raw(b"1"))),
        ("unsubscribe", {}, UnsubscribeUser(Selector("7"))),
        ("unsubscribe", {"channel": "chat:x"}, UnsubscribeUser(Selector("7"), "chat:x")),
        ("disconnect", {}, DisconnectUser(Selector("7"), 3503, "force disconnect")),
        ("disconnect", {"whitelist": ["c"]}, DisconnectUser(Selector("7", "", "", ["c"]), 3503, "force disconnect")),
        ("refresh", {"expire_at": 5}, RefreshUser(Selector("7"), False, 5)),
        ("refresh", {"expired": True}, RefreshUser(Selector("7"), True)),
        ("subscribe", {"channel": "chat:x"}, SubscribeUser(Selector("7"), "chat:x", Raw(b'{"override":{}}'))),
        (
            "subscribe",
            {
                "channel": "chat:x",
                "data": 1,
                "info": {"a": 1},
                "expire_at": int(START) + 9,
                "recover_since": {"offset": 3, "epoch": "e"},
                "override": {"presence": {"value": True}, "join_leave": None},
            },
            SubscribeUser(
                Selector("7"),
                "chat:x",
                Raw(
                    b'{"info":{"a": 1},"data":1,"expires_at":%d,"override":{"presence":{"value":true}}}'
                    % (int(START) + 9)
                ),
                3,
                "e",
                True,
            ),
        ),
    ],
)
async def test_all_edges_are_asked_for_the_same(api, edge, cluster, method, call, asked):
    other = await TestEdge(cluster).start()
    assert await api.answer(method, user="7", **call) == {"result": {}}
    for each in (edge, other):
        assert list(map(encode_request, each.asked)) == [encode_request(asked)]


async def test_an_edge_that_hangs_fails_what_is_asked_of_all(api, cluster, monkeypatch):
    monkeypatch.setattr(api_methods, "CALL_DEADLINE_S", 0.05)
    cluster.peers.hang((await TestEdge(cluster).start()).instance)
    assert await api.error("send", user="7", data=1) == 100
    assert await api.error("channels") == 100
    answer = await api.answer("batch", commands=[{"send": {"user": "7", "data": 1}}, {"info": {}}])
    assert answer["replies"][0]["error"]["code"] == 100 and answer["replies"][1]["info"]["nodes"] == []


async def test_an_edge_that_does_not_understand_an_order_fails_it(api, edge, monkeypatch):
    monkeypatch.setattr(edge.control_handler, "answer", lambda request, cause: Unknown())
    assert await api.error("disconnect", user="7") == 100


# --- rpc ------------------------------------------------------------------------------------------------------------


async def test_an_rpc_is_answered_by_a_backend(cluster):
    backend = FunctionBackend()
    api = Api(await TestEdge(cluster, backend=backend).start())
    callers: list[Any] = []

    def fail(data: bytes, caller: Any) -> bytes:
        raise BackendError(404, "no such order")

    def note(data: bytes, caller: Any) -> bytes:
        callers.append(caller)
        return b'{"got":' + (data or b'"nothing"') + b"}"

    async def hang(data: bytes, caller: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    backend.rpc = {
        "note": note,
        "fail": fail,
        "hang": hang,
        "binary": lambda data, caller: b"\xff",
        "empty": lambda data, caller: b"",
    }
    assert await api.answer("rpc", method="note", params=[1]) == {"result": {"data": {"got": [1]}}}
    assert await api.answer("rpc", method="note") == {"result": {"data": {"got": "nothing"}}}
    assert (callers[0].user, callers[0].client, callers[0].transport) == ("", "", "api")
    assert await api.answer("rpc", method="empty") == {"result": {"data": None}}
    assert await api.answer("rpc", method="fail") == {"error": {"code": 404, "message": "no such order"}}
    assert await api.error("rpc", method="nobody has it") == 108
    assert await api.error("rpc", method="a..b") == 104
    api.told.clear()
    assert await api.error("rpc", method="binary") == 100 == await api.error("rpc", method="hang")
    unusable, late = (why for _, why, _ in api.told)
    assert "a backend's answer is unusable (asked: nats): " in unusable
    assert "no backend answered in time (asked: nats): " in late


# --- bounds ---------------------------------------------------------------------------------------------------------


class Gate:
    """A backend whose answers wait until it opens; it counts how many do."""

    def __init__(self) -> None:
        self.waiting = self.most = 0
        self.opened = asyncio.Event()
        self.order: list[int] = []
        self.backend = FunctionBackend({"gate": self.answer})

    async def answer(self, data: bytes, caller: Any) -> bytes:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.opened.wait()
        self.waiting -= 1
        self.order.append(int(data))
        return data


async def test_a_batch_and_a_broadcast_are_so_large_at_most(api):
    channels = [f"live:{number}" for number in range(MAX_CHANNELS)]
    assert len((await api.answer("broadcast", channels=channels, data=1))["result"]["responses"]) == MAX_CHANNELS
    assert await api.error("broadcast", channels=[*channels, "live:more"], data=1) == 107
    commands: list[Any] = [{"info": {}}] * MAX_COMMANDS
    assert len((await api.answer("batch", commands=commands))["replies"]) == MAX_COMMANDS
    assert await api.error("batch", commands=[*commands, {"info": {}}]) == 107


@pytest.mark.parametrize(("parallel", "at_once"), [(True, api_methods.AT_ONCE), (False, 1)])
async def test_so_many_commands_of_a_batch_are_in_progress_at_once(cluster, parallel, at_once):
    gate = Gate()
    api = Api(await TestEdge(cluster, backend=gate.backend).start(), rpc_timeout_s=30)
    commands = [{"rpc": {"method": "gate", "params": number}} for number in range(200)]
    batch = asyncio.ensure_future(api.answer("batch", commands=commands, parallel=parallel))
    await eventually(lambda: gate.waiting == at_once)
    gate.opened.set()
    answer = await batch
    assert [reply["rpc"]["data"] for reply in answer["replies"]] == list(range(200))
    assert gate.most == at_once
    assert parallel or gate.order == list(range(200))


async def test_too_many_calls_at_once_are_refused_and_none_is_forgotten(cluster, monkeypatch):
    gate = Gate()
    edge = await TestEdge(cluster, backend=gate.backend).start()
    api = Api(edge, rpc_timeout_s=30)
    monkeypatch.setattr(api_methods, "MAX_CALLS", 2)
    calls = [asyncio.ensure_future(api.answer("rpc", method="gate", params=number)) for number in range(2)]
    await eventually(lambda: gate.waiting == 2)
    assert await api.error("info") == 111
    gate.opened.set()
    assert [call["result"]["data"] for call in await asyncio.gather(*calls)] == [0, 1]
    assert api.methods.in_progress == 0 and "result" in await api.answer("info")
    assert edge.tally.api_turned_away == 1
    assert edge.tally.api_calls == {("rpc", 0): 2, ("info", 111): 1, ("info", 0): 1}


async def test_the_commands_of_a_batch_count_by_their_own_methods(cluster):
    edge = await TestEdge(cluster).start()
    commands = [{"publish": {"channel": "chat:x", "data": 1}}, {"publish": {}}, {"map_stats": {}}, {"nonsense": {}}]
    await Api(edge).answer("batch", commands=commands)
    assert edge.tally.api_calls == {
        ("batch", 0): 1,
        ("publish", 0): 1,
        ("publish", 107): 1,
        ("unknown", 108): 1,
        ("unknown", 104): 1,
    }


async def test_a_call_that_takes_too_long_ends_and_a_batch_keeps_what_is_done(cluster, monkeypatch):
    gate = Gate()
    api = Api(await TestEdge(cluster, backend=gate.backend).start(), rpc_timeout_s=30)
    monkeypatch.setattr(api_methods, "CALL_DEADLINE_S", 0.05)
    assert await api.error("rpc", method="gate", params=1) == 100
    commands: list[Any] = [{"publish": {"channel": "chat:x", "data": 1}}, {"rpc": {"method": "gate", "params": 1}}]
    commands.append({"rpc": {"method": "gate", "params": 2}})
    done, *late = (await api.answer("batch", commands=commands))["replies"]
    assert done["publish"]["offset"] == 1 and [reply["error"]["code"] for reply in late] == [100, 100]


async def test_publishes_of_calls_that_take_too_long_count_as_timed_out(api, edge, monkeypatch):
    async def hang(*args):
        await asyncio.Event().wait()

    monkeypatch.setattr(edge.broker, "publish", hang)
    monkeypatch.setattr(api_methods, "CALL_DEADLINE_S", 0.05)
    assert await api.error("publish", channel="chat:x", data=1) == 100
    await api.answer("broadcast", channels=["chat:x", "chat:y"], data=1)
    await api.answer("batch", commands=[{"publish": {"channel": "chat:x", "data": 1}}])
    assert edge.tally.publishes_failed == {"timeout": 4}


async def test_questions_of_calls_that_take_too_long_count_as_timed_out(cluster, monkeypatch):
    edge = await TestEdge(cluster, backend=Gate().backend).start()
    api = Api(edge, rpc_timeout_s=30)
    monkeypatch.setattr(api_methods, "CALL_DEADLINE_S", 0.05)
    assert await api.error("rpc", method="gate", params=1) == 100
    assert edge.tally.backend_failures == {("nats", "rpc", "timeout"): 1}
    assert edge.tally.timings.backend_seconds.of("nats", "rpc").count == 1
