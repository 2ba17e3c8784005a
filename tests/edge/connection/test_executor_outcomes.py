"""The executor alone: an action in, an outcome out by its deadline, and nothing left behind by one that failed."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw
from msgspec.structs import replace

from proto import codes
from proto.commands import Command
from proto.messages import ClientInfo, StreamPosition
from proto.replies import ConnectResult
from services.edge.backend.backend import Caller
from services.edge.session.actions import AskHook, CallBackend, Connect, Publish, ReadHistory
from services.edge.session.outcomes import Attached, AttachedAll, Failed, Replied
from tests.contract.backend import never
from tests.support.cluster import START, EdgeCluster, FakeSubscriber, TestEdge, attach_request
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend
from tests.support.namespaces import rules_of

SOON = START + 5


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


def connect_to(*channels: str) -> Connect:
    return Connect(1, ConnectResult("c1", "v"), [attach_request(channel) for channel in channels])


def history_of(channel: str, since: StreamPosition | None = None) -> ReadHistory:
    return ReadHistory(1, channel, rules_of(channel), 10, since, False)


async def test_attached_it_says_where_the_log_stood(edge):
    await edge.publish("chat:x", 1)
    subscriber = FakeSubscriber()
    attached = await edge.context.executor.execute(attach_request("chat:x"), subscriber, SOON)
    assert isinstance(attached, Attached) and attached.position == StreamPosition(1, "epoch1")
    assert subscriber.pushes == []
    attached = await edge.context.executor.execute(attach_request("live:x"), subscriber, SOON)
    assert isinstance(attached, Attached) and attached.position is None
    assert edge.node.subscriptions == 2


async def test_a_connect_is_attached_to_all_of_its_channels_or_to_none(edge):
    subscriber = FakeSubscriber()
    attached = await edge.context.executor.execute(connect_to("chat:x", "live:y"), subscriber, SOON)
    assert isinstance(attached, AttachedAll) and list(attached.channels) == ["chat:x", "live:y"]
    edge.broker.go_away()
    failed = await edge.context.executor.execute(connect_to("live:y", "chat:z"), FakeSubscriber(), SOON)
    assert failed == Failed(codes.INTERNAL) and edge.node.subscriptions == 2


async def test_a_client_that_has_gone_is_attached_to_no_more(edge):
    attached = await edge.context.executor.execute(connect_to("chat:x"), FakeSubscriber(closed=True), SOON)
    assert attached == AttachedAll({}) and edge.node.subscriptions == 0


async def test_past_its_deadline_it_has_failed_and_left_nothing(edge, monkeypatch):
    subscribe, begun = edge.node.subscribe, asyncio.Event()

    async def never(subscriber, request):
        if request.channel != "chat:never":
            return await subscribe(subscriber, request)
        begun.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(edge.node, "subscribe", never)
    action = connect_to("chat:x", "chat:never")
    execution = asyncio.create_task(edge.context.executor.execute(action, FakeSubscriber(), START + 0.05))
    await begun.wait()
    assert edge.node.subscriptions == 1
    assert await execution == Failed(codes.INTERNAL)
    assert edge.node.subscriptions == 0


async def test_a_publish_past_its_deadline_counts_as_timed_out(edge, monkeypatch):
    async def hang(*args):
        await asyncio.Event().wait()

    monkeypatch.setattr(edge.broker, "publish", hang)
    action = Publish(1, "chat:x", rules_of("chat:x"), Raw(b"1"), ClientInfo(user="u", client="c"), "u")
    assert await edge.context.executor.execute(action, FakeSubscriber(), START) == Failed(codes.INTERNAL)
    assert edge.tally.publishes_failed == {"timeout": 1}


async def test_a_question_past_its_deadline_counts_as_timed_out():
    backend = FunctionBackend({"never": never}, {"publish": never})
    edge = await TestEdge(EdgeCluster(), backend=backend).start()
    execute, caller = edge.context.executor.execute, Caller(user="u", client="c")
    rpc, hook = CallBackend(1, "never", Raw(b"1"), caller), AskHook("publish", Command(id=1), b"", caller, 30, True)
    assert await execute(rpc, FakeSubscriber(), START) == Failed(codes.INTERNAL)
    assert await execute(hook, FakeSubscriber(), START) == Failed(codes.INTERNAL)
    assert edge.tally.backend_failures == {("nats", "rpc", "timeout"): 1, ("nats", "hook.publish", "timeout"): 1}
    assert {call: seconds.count for (_, call), seconds in edge.tally.timings.backend_seconds.by_label.items()} == {
        "rpc": 1,
        "hook.publish": 1,
    }


async def test_a_refusal_has_its_reason(edge):
    await edge.publish("chat:x", 1)
    assert isinstance(await edge.context.executor.execute(history_of("chat:x"), FakeSubscriber(), SOON), Replied)
    wrong = history_of("chat:x", StreamPosition(1, "other"))
    failed = await edge.context.executor.execute(wrong, FakeSubscriber(), SOON)
    assert isinstance(failed, Failed) and failed.error == codes.UNRECOVERABLE_POSITION


async def test_a_server_command_is_retried_until_the_broker_is_there(edge):
    edge.broker.go_away()
    ordered = replace(attach_request("chat:x"), command_id=0)
    execution = asyncio.create_task(edge.context.executor.execute(ordered, FakeSubscriber(), SOON))
    asked = await edge.context.executor.execute(attach_request("chat:x"), FakeSubscriber(), SOON)
    assert asked == Failed(codes.INTERNAL), "a client tries again itself"
    assert not execution.done()
    edge.broker.come_back()
    await eventually(execution.done)
    assert isinstance(await execution, Attached)
