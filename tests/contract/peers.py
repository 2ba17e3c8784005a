"""What every `services.edge.cluster.peers.Peers` promises. Each implementation's test module subclasses this suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from msgspec import Raw

from proto.control import (
    ActiveChannels,
    ChannelsFound,
    ControlAnswer,
    ControlRequest,
    CountMembers,
    DisconnectUser,
    Done,
    Members,
    MembersCounted,
    MembersFound,
    Probe,
    Selector,
)
from proto.messages import ClientInfo
from proto.trace_context import TraceContext
from services.chassis.tracing.span import SERVER, working_in
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.peers import PeerGone, Peers, PeersAway
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.support.eventually import eventually

MANY = 20_000
LONG_S = 30
"""Longer than any test waits: a question that ends earlier has an end of its own."""


class Heard:
    """Keeps the cluster's events, and checks that they make sense."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.lost: list[str] = []
        self.returned: list[str] = []

    def edge_found(self, instance: str) -> None:
        assert instance not in self.there
        self.there.add(instance)

    def edge_returned(self, instance: str) -> None:
        assert instance in self.there
        self.returned.append(instance)

    def edge_lost(self, instance: str) -> None:
        self.there.remove(instance)
        self.lost.append(instance)


def members(edge: str, count: int) -> MembersFound:
    infos = (
        ClientInfo(user=f"user-{n}", client=f"{edge}-{n}", conn_info=Raw(b'{"name":"somebody","age":%d}' % n))
        for n in range(count)
    )
    return MembersFound({str(info.client): info for info in infos})


class Edge:
    """One edge: its peers, its events, the questions it gets and its answer to them."""

    def __init__(self, peers: Peers, cluster: Cluster) -> None:
        self.peers = peers
        self.cluster = cluster
        self.heard = Heard()
        self.asked: list[ControlRequest] = []
        self.causes: list[TraceContext | None] = []
        self.answer: Callable[[ControlRequest], ControlAnswer | Awaitable[ControlAnswer]] = self.holds_one
        cluster.listen(self.heard)

    @property
    def instance(self) -> str:
        return self.peers.instance

    def respond(self, request: ControlRequest, cause: TraceContext | None) -> ControlAnswer | Awaitable[ControlAnswer]:
        self.asked.append(request)
        self.causes.append(cause)
        return self.answer(request)

    def holds_one(self, request: ControlRequest) -> ControlAnswer:
        return members(self.instance, 1)


def clients(answers: list[ControlAnswer]) -> set[object]:
    return {client for answer in answers if isinstance(answer, MembersFound) for client in answer.members}


class PeersContract:
    """Three edges that know each other: `a`, `b` and `c`."""

    def cluster(self) -> AbstractAsyncContextManager[tuple[Edge, Edge, Edge]]:
        raise NotImplementedError("the subclass gives three started edges of one cluster, named a, b and c")

    async def kill(self, edge: Edge) -> None:
        raise NotImplementedError

    async def hang(self, edge: Edge) -> None:
        raise NotImplementedError

    async def give_up(self, edge: Edge) -> None:
        """A hanging edge is silent for so long that it is lost."""
        raise NotImplementedError

    async def wake(self, edge: Edge) -> None:
        raise NotImplementedError

    async def cut_off(self, edge: Edge) -> None:
        raise NotImplementedError

    @pytest.fixture
    async def three(self, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Edge, Edge, Edge]]:
        self.request = request
        async with self.cluster() as three:
            await eventually(lambda: all(len(edge.heard.there) == 2 for edge in three))
            yield three

    async def test_one_edge_is_asked_and_answers(self, three):
        a, b, c = three
        request = DisconnectUser(Selector("alice", whitelist=["x"]), 3000, "bye \u2603")
        b.answer = lambda request: Done(7)
        assert await a.peers.ask("b", request) == Done(7)
        assert (a.asked, b.asked, c.asked) == ([], [request], [])

    async def test_it_answers_itself(self, three):
        a, _, _ = three
        assert await a.peers.ask("a", Members("x")) == members("a", 1)
        assert a.asked == [Members("x")]

    async def test_an_answer_may_take_its_time(self, three):
        a, b, _ = three
        go_on = asyncio.Event()

        async def later() -> ControlAnswer:
            await go_on.wait()
            return Done(1)

        b.answer = lambda request: later()
        asking = asyncio.create_task(a.peers.ask("b", Members("x"), LONG_S))
        await eventually(lambda: b.asked == [Members("x")])
        assert not asking.done()
        go_on.set()
        assert await asking == Done(1)

    async def test_all_edges_answer_this_one_first(self, three):
        a, b, c = three
        answers = await b.peers.ask_all(Members("x"))
        assert answers[0] == members("b", 1)
        assert clients(answers) == {"a-0", "b-0", "c-0"} and len(answers) == 3
        assert a.asked == b.asked == c.asked == [Members("x")]

    async def test_the_span_that_asks_travels_with_the_question(self, three):
        a, b, c = three
        span = tracer(KeptSpans()).begin("asks", SERVER, None, {})
        with working_in(span):
            await a.peers.ask_all(Members("x"))
        await a.peers.ask(b.instance, Members("x"))
        assert a.causes == c.causes == [span.context] and b.causes == [span.context, None]

    async def test_a_probe_is_answered_without_the_edge_s_doing(self, three):
        a, b, _ = three
        assert await a.peers.ask("b", Probe()) == Done()
        assert await a.peers.ask("a", Probe()) == Done()
        assert a.asked == b.asked == []

    async def test_an_answer_may_be_large(self, three):
        a, b, _ = three
        b.answer = lambda request: members("b", MANY)
        assert await a.peers.ask("b", Members("x"), LONG_S) == members("b", MANY)
        channels = {f"news:{n}": n for n in range(MANY)}
        b.answer = lambda request: ChannelsFound(channels)
        assert await a.peers.ask("b", ActiveChannels(), LONG_S) == ChannelsFound(channels)
        counted = MembersCounted(2 * MANY, [f"user-{n}" for n in range(MANY)])
        b.answer = lambda request: counted
        assert await a.peers.ask("b", CountMembers("x"), LONG_S) == counted

    async def test_few_members_with_much_to_tell_are_a_large_answer_too(self, three):
        a, b, _ = three
        info = Raw(b'"' + b"x" * 60_000 + b'"')
        found = MembersFound({f"c{n}": ClientInfo(user="", client=f"c{n}", conn_info=info) for n in range(100)})
        b.answer = lambda request: found
        assert await a.peers.ask("b", Members("x"), LONG_S) == found

    async def test_there_is_no_such_edge(self, three):
        a, _, _ = three
        with pytest.raises(PeerGone):
            await a.peers.ask("never.was *", Members("x"), LONG_S)

    async def test_a_killed_edge_is_gone_at_once(self, three):
        a, b, c = three
        await self.kill(b)
        with pytest.raises(PeerGone):
            await a.peers.ask("b", Members("x"), LONG_S)
        assert clients(await a.peers.ask_all(Members("x"), LONG_S)) == {"a-0", "c-0"}
        await eventually(lambda: a.heard.lost == c.heard.lost == ["b"])
        assert (a.cluster.instances(), c.cluster.instances()) == (["c"], ["a"])
        assert clients(await a.peers.ask_all(Members("x"))) == {"a-0", "c-0"}

    async def test_a_silent_edge_fails_the_question(self, three):
        a, b, _ = three
        await self.hang(b)
        with pytest.raises(PeersAway):
            await a.peers.ask("b", Members("x"), 0.05)
        with pytest.raises(PeersAway):
            await a.peers.ask_all(Members("x"), 0.05)
        assert await a.peers.ask("c", Members("x")) == members("c", 1)

    async def test_a_question_to_a_silent_edge_ends_when_the_edge_is_lost(self, three):
        a, b, c = three
        await self.hang(b)
        one = asyncio.create_task(a.peers.ask("b", Members("x"), LONG_S))
        everybody = asyncio.create_task(a.peers.ask_all(Members("x"), LONG_S))
        await eventually(lambda: c.asked == [Members("x")])
        await self.give_up(b)
        assert clients(await everybody) == {"a-0", "c-0"}
        with pytest.raises(PeerGone):
            await one
        assert a.heard.lost == ["b"]
        assert clients(await a.peers.ask_all(Members("x"))) == {"a-0", "c-0"}

    async def test_a_lost_edge_that_wakes_up_is_found_again(self, three):
        a, b, c = three
        await self.hang(b)
        await self.give_up(b)
        await eventually(lambda: a.heard.lost == c.heard.lost == ["b"])
        await self.wake(b)
        await eventually(lambda: a.heard.there == {"b", "c"} and c.heard.there == {"a", "b"})
        assert b.heard.there == {"a", "c"} and b.heard.lost == [], "it was not the others who were silent"
        assert clients(await a.peers.ask_all(Members("x"))) == {"a-0", "b-0", "c-0"}

    async def test_an_edge_that_fails_to_answer_fails_the_question(self, three):
        a, b, _ = three

        def fail(request: ControlRequest) -> ControlAnswer:
            raise RuntimeError("on purpose")

        b.answer = fail
        with pytest.raises(PeersAway):
            await a.peers.ask("b", Members("x"), LONG_S)
        with pytest.raises(PeersAway):
            await a.peers.ask_all(Members("x"), LONG_S)

    async def test_an_edge_that_is_cut_off_says_that_it_does_not_know(self, three):
        a, _, _ = three
        await self.cut_off(a)
        with pytest.raises(PeersAway):
            await a.peers.ask("b", Members("x"), LONG_S)
        with pytest.raises(PeersAway):
            await a.peers.ask_all(Members("x"), LONG_S)
        assert await a.peers.ask("a", Members("x")) == members("a", 1)

    async def test_a_question_may_be_cancelled(self, three):
        a, b, _ = three
        await self.hang(b)
        asking = [
            asyncio.create_task(a.peers.ask("b", Members("x"), LONG_S)),
            asyncio.create_task(a.peers.ask_all(Members("x"), LONG_S)),
        ]
        await eventually(lambda: a.asked == [Members("x")])
        for task in asking:
            task.cancel()
        assert all(
            isinstance(outcome, asyncio.CancelledError)
            for outcome in await asyncio.gather(*asking, return_exceptions=True)
        )
