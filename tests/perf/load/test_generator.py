"""The load generator against a stock WebSocket server: what it sends, and what it counts as success and failure."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest

from perf.load.dialects import Dialect
from perf.load.dialects.centrifuge import Centrifuge
from perf.load.dialects.unfinished import Unfinished
from perf.load.generator import Generator
from perf.load.pacing import Schedule
from perf.load.plan import ClientPublishing, Plan
from tests.perf.load.stub_edge import StubEdge, running_stub
from tests.support.eventually import eventually

SECRET = "a secret of at least thirty-two bytes"
NOTHING = Centrifuge()  # listens to nothing
PAYLOAD = {"v": "perf@0000000000000000001@000000000@"}
MESSAGE = json.dumps({"push": {"channel": "x", "pub": {"data": PAYLOAD}}})
FAST = Schedule(count=5, rate=10_000)


@contextlib.asynccontextmanager
async def run(stub: StubEdge, dialect: Dialect = NOTHING, **changes: Any) -> AsyncIterator[Generator]:
    """A generator whose connections have all been settled."""
    generator = Generator(replace(Plan("127.0.0.1", stub.port, dialect, FAST), **changes))
    generator.begin(time.monotonic())
    await eventually(lambda: generator.tally.progress.settled == 5)
    yield generator
    await generator.finish()


async def test_each_client_connects_with_its_token_and_subscribes_to_its_channel(stub: StubEdge) -> None:
    async with run(stub, Centrifuge(channel="perf:{i}", token_secret=SECRET)) as generator:
        assert generator.tally.progress.connected == 5
        users = {
            jwt.decode(command["connect"]["token"], SECRET, algorithms=["HS256"])["sub"]
            for command in stub.commands
            if "connect" in command
        }
        channels = {command["subscribe"]["channel"] for command in stub.commands if "subscribe" in command}
        assert users == {f"perf-{i}" for i in range(5)}
        assert channels == {f"perf:{i}" for i in range(5)}


async def test_every_established_connection_is_in_every_distribution(stub: StubEdge) -> None:
    async with run(stub) as generator:
        tally = generator.tally
        lists = (tally.connect_s, tally.connect_from_start_s, tally.tcp_s, tally.upgrade_s, tally.reply_s)
        assert [len(samples) for samples in (*lists, tally.lateness_s)] == [5] * 6
        for whole, late, *stages in zip(tally.connect_s, tally.lateness_s, *lists[2:], strict=True):
            assert whole > 0 and late >= 0 and sum(stages) <= whole + 1e-9


async def test_what_the_generator_starts_late_counts_from_when_it_was_due(stub: StubEdge) -> None:
    plan = Plan("127.0.0.1", stub.port, NOTHING, FAST)
    generator = Generator(plan)
    generator.begin(time.monotonic() - 1.0)
    await eventually(lambda: generator.tally.progress.settled == 5)
    tally = await generator.finish()
    assert min(tally.lateness_s) > 0.9
    waited = sum(tally.connect_s) - sum(tally.connect_from_start_s)
    assert waited == pytest.approx(sum(tally.lateness_s))


async def test_server_pings_are_answered_while_holding(stub: StubEdge) -> None:
    async with run(stub):
        await stub.send("{}")
        await eventually(lambda: stub.pongs == 5)


async def test_messages_are_counted_and_a_ping_among_them_is_answered(stub: StubEdge) -> None:
    async with run(stub) as generator:
        await stub.send(MESSAGE + "\n{}")
        await eventually(lambda: stub.pongs == 5)
    assert generator.tally.deliveries.messages == 5


async def test_it_closes_every_connection_at_the_end(stub: StubEdge) -> None:
    async with run(stub) as generator:
        pass
    await eventually(lambda: stub.close_codes == [1000] * 5)
    assert generator.tally.unanswered_closes == 0
    assert generator.tally.progress.lost == 0


async def test_connections_that_the_server_ends_are_lost_with_their_code(stub: StubEdge) -> None:
    async with run(stub) as generator:
        await stub.close(1001, "shutdown")
        await eventually(lambda: generator.tally.progress.lost == 5)
    assert generator.tally.losses == {"close 1001 shutdown": 5}
    assert len(generator.tally.lost_at) == 5


async def test_connections_that_are_cut_are_lost_without_a_code(stub: StubEdge) -> None:
    async with run(stub) as generator:
        for connection in list(stub.open):
            connection.transport.abort()
        await eventually(lambda: generator.tally.progress.lost == 5)
    assert all("close" not in cause and "(held)" in cause for cause in generator.tally.losses)


async def _http(stub: StubEdge) -> None:
    stub.http_status = 503


async def _token(stub: StubEdge) -> None:
    stub.errors["connect"] = (109, "token expired")


async def _channel(stub: StubEdge) -> None:
    stub.errors["subscribe"] = (102, "unknown channel")


async def _close(stub: StubEdge) -> None:
    stub.close_on_connect = (3500, "invalid token")


async def _silent(stub: StubEdge) -> None:
    stub.silent = True


async def _garbage(stub: StubEdge) -> None:
    stub.answer = "<html>"


@pytest.mark.parametrize(
    ("misbehave", "cause"),
    [
        (_http, "http 503"),
        (_token, "error 109 token expired"),
        (_channel, "error 102 unknown channel"),
        (_close, "close 3500 invalid token"),
        (_silent, "timeout (connect)"),
    ],
)
async def test_failures_have_a_cause(
    stub: StubEdge, misbehave: Callable[[StubEdge], Awaitable[None]], cause: str
) -> None:
    await misbehave(stub)
    async with run(stub, Centrifuge(channel="x"), connect_timeout_s=0.2) as generator:
        assert generator.tally.failures == {cause: 5}
        assert generator.tally.progress.connected == 0
    await eventually(lambda: not stub.open)


async def test_an_answer_that_is_no_reply_is_malformed(stub: StubEdge) -> None:
    await _garbage(stub)
    async with run(stub) as generator:
        [(cause, number)] = generator.tally.failures.items()
    assert cause.startswith("malformed: ") and number == 5


async def test_a_port_without_a_listener_is_refused(stub: StubEdge) -> None:
    with socket.socket() as taken:  # bound and not listening: no other process gets the port, and none answers
        taken.bind(("127.0.0.1", 0))
        async with run(stub, port=taken.getsockname()[1]) as generator:
            assert generator.tally.failures == {"refused (tcp)": 5}


async def test_a_server_that_never_answers_the_upgrade_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with run(StubEdge(port=silent.getsockname()[1]), connect_timeout_s=0.2) as generator:
            assert generator.tally.failures == {"timeout (upgrade)": 5}


async def test_source_addresses_are_spread(stub: StubEdge) -> None:
    async with run(stub, source_spread=3):
        sources = {connection.remote_address[0] for connection in stub.open}
    assert sources == {"127.77.0.1", "127.77.0.2", "127.77.0.3"}


async def test_a_run_that_ends_early_counts_every_started_connection_once(stub: StubEdge) -> None:
    stub.silent = True
    plan = Plan("127.0.0.1", stub.port, NOTHING, FAST)
    generator = Generator(plan)
    generator.begin(time.monotonic())
    await eventually(lambda: generator.tally.progress.attempted == 5)
    tally = await generator.finish()
    assert tally.failures == {"local: the run ended first": 5}


async def test_clients_publish_what_the_plan_has_for_them_in_turn_and_in_time(stub: StubEdge) -> None:
    publishing = ClientPublishing(Schedule(count=7, rate=10_000.0), size=64)
    async with run(stub, Centrifuge(channel="log:{i}"), client_publishing=publishing) as generator:
        generator.begin_publishing(time.monotonic())
        await eventually(lambda: sum("publish" in command for command in stub.commands) == 7)
        assert generator.progress.published == len(generator.tally.publish_lateness_s) == 7
    channels = Counter(command["publish"]["channel"] for command in stub.commands if "publish" in command)
    assert channels == {"log:0": 2, "log:1": 2, "log:2": 1, "log:3": 1, "log:4": 1}


async def test_clients_that_stop_reading_get_nothing_more_and_the_others_do(stub: StubEdge) -> None:
    async with run(stub) as generator:
        generator.stop_reading(below=2)
        await stub.send(MESSAGE)
        await eventually(lambda: generator.progress.messages == 3)
    assert generator.tally.unanswered_closes == 0  # the answer to a client that does not read is not waited for


async def test_a_take_leaves_the_whole_count_as_it_was(stub: StubEdge) -> None:
    async with run(stub) as generator:
        await stub.send(MESSAGE)
        await eventually(lambda: generator.progress.messages == 5)
        assert generator.take().messages == 5
        assert (generator.take().messages, generator.progress.messages) == (0, 5)


async def test_lost_clients_reconnect_to_another_port_from_their_positions(stub: StubEdge) -> None:
    stub.subscribed = {"recoverable": True, "epoch": "e", "offset": 3}
    dialect = Centrifuge(channel="log:{i}")
    async with running_stub() as refuge:
        refuge.subscribed = {"recovered": True, "epoch": "e", "offset": 4, "publications": [{"data": PAYLOAD}]}
        async with run(stub, dialect, ordered=True, reconnect_port=refuge.port) as generator:
            for connection in list(stub.open):
                connection.transport.abort()
            await eventually(lambda: generator.progress.reconnected == 5)
            tally = generator.tally
            assert (tally.recovered, len(tally.reconnected_at), tally.progress.lost) == (5, 5, 5)
            assert generator.progress.messages == 5  # the ones that they had missed
        positions = [command["subscribe"] for command in refuge.commands if "subscribe" in command]
        assert {(one["recover"], one["epoch"], one["offset"]) for one in positions} == {(True, "e", 3)}


async def test_a_client_whose_reconnect_fails_tries_again(stub: StubEdge) -> None:
    async with running_stub() as refuge:
        refuge.http_status = 503
        async with run(stub, Centrifuge(channel="log:{i}"), ordered=True, reconnect_port=refuge.port) as generator:
            for connection in list(stub.open):
                connection.transport.abort()
            await eventually(lambda: generator.tally.reconnect_failures["http 503"] >= 5)
            refuge.http_status = 101
            await eventually(lambda: generator.progress.reconnected == 5)
    assert generator.tally.progress.failed == 0


async def test_a_client_may_stop_half_way(stub: StubEdge) -> None:
    async with run(stub, Unfinished()) as generator:  # nothing but TCP
        assert generator.progress.connected == 5
        assert not stub.open
    async with run(stub, Unfinished(path="/")) as generator:
        assert generator.progress.connected == 5
        await eventually(lambda: len(stub.open) == 5)
    assert stub.commands == []


async def test_each_room_has_clients_on_each_port(stub: StubEdge) -> None:
    async with running_stub() as other:
        dialect = Centrifuge(channel="room-{room}", rooms=2)
        async with run(stub, dialect, more_ports=(other.port,)):
            rooms = [[c["subscribe"]["channel"] for c in one.commands if "subscribe" in c] for one in (stub, other)]
        assert [sorted(set(found)) for found in rooms] == [["room-0", "room-1"], ["room-0", "room-1"]]
