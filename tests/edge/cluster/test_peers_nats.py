from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from proto import subjects
from proto.control import Done, Members, MembersFound, Probe, Unknown, decode_answer, encode_answer, encode_request
from services.chassis.nats.link import header_block
from services.edge.cluster import peers_nats
from services.edge.cluster.peers import PeerGone, PeersAway
from tests.contract.peers import LONG_S, MANY, Edge, PeersContract, clients, members
from tests.edge.cluster.edges_nats import RunningEdge, running
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


class TestNatsPeers(PeersContract):
    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[Edge, Edge, Edge]]:
        self.server = self.request.getfixturevalue("nats_server")
        async with AsyncExitStack() as stack:
            a, b, c = [await stack.enter_async_context(running(self.server.url, name)) for name in ("a", "b", "c")]
            yield a, b, c

    async def kill(self, edge: Edge) -> None:
        assert isinstance(edge, RunningEdge)
        edge.kill()
        await eventually(lambda: edge.link._client.is_closed)

    async def hang(self, edge: Edge) -> None:
        assert isinstance(edge, RunningEdge)
        edge.hang()

    async def give_up(self, edge: Edge) -> None:
        pass  # it is found out in time

    async def wake(self, edge: Edge) -> None:
        assert isinstance(edge, RunningEdge)
        edge.wake()

    async def cut_off(self, edge: Edge) -> None:
        assert isinstance(edge, RunningEdge)
        self.server.kill9()
        await eventually(lambda: not edge.link.is_connected)


async def test_nobody_hears_of_an_edge_before_it_answers(nats_server):
    async with running(nats_server.url, "a") as a:
        asked: list[asyncio.Task[object]] = []

        class AskAtOnce:
            def edge_found(self, instance: str) -> None:
                asked.append(asyncio.create_task(a.peers.ask(instance, Members("x"))))

            def edge_returned(self, instance: str) -> None:
                pass

            def edge_lost(self, instance: str) -> None:
                pass

        a.cluster.listen(AskAtOnce())
        async with running(nats_server.url, "b"):
            await eventually(lambda: asked)  # its first heartbeat may still be on its way to a
            assert await asked[0] == members("b", 1)


async def test_a_question_to_a_killed_edge_has_it_found_before_its_heartbeat_is_late(nats_server):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        a.stop_the_clock()
        b.kill()
        await eventually(lambda: b.link._client.is_closed)
        with pytest.raises(PeerGone):
            await a.peers.ask("b", Members("x"))
        assert a.cluster.suspects() == ["b"]
        await eventually(lambda: a.heard.lost == ["b"])


async def test_the_first_edge_back_on_nats_waits_for_the_others(nats_server):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        b.kill()
        await eventually(lambda: b.link._client.is_closed)
        a.turn_the_clock(1000)
        assert a.cluster.suspects() == ["b"]
        a.nats.on_connected()
        assert a.cluster.suspects() == []
        asking = asyncio.create_task(a.peers.ask_all(Members("x"), LONG_S))
        await eventually(lambda: a.asked == [Members("x")])
        async with running(nats_server.url, "b"):
            assert clients(await asking) == {"a-0", "b-0"}
        assert a.heard.lost == []


async def test_an_edge_back_on_nats_hears_of_edges_that_came_meanwhile(nats_server):
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        b.tasks.pop().cancel()
        a.cluster.declare_lost("b")
        a.nats.on_disconnected()
        asking = asyncio.create_task(a.peers.ask_all(Members("x"), LONG_S))
        a.nats.on_connected()
        assert clients(await asking) == {"a-0", "b-0"}


async def test_data_that_is_not_a_request_is_answered_unknown(nats_server):
    async with running(nats_server.url, "a") as a, linked(nats_server.url) as link:
        link.publish(subjects.edge_control("a"), b"no reply is wanted")
        for data in (b"", b"\xff", b"{}", b'{"ask":"tea"}', b"[" * 100_000):
            _, answer = await link.request(subjects.edge_control("a"), data)
            assert decode_answer(answer) == Unknown()
        assert a.asked == []


async def test_data_that_is_not_an_answer_fails_the_question(nats_server):
    async with running(nats_server.url, "a") as a, linked(nats_server.url) as link:
        whole, more = members("z", 1), header_block(Fairlead_Part="more")
        say: list[tuple[bytes, bytes | None]] = []

        def answer(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
            for part, marks in say:
                link.publish(reply.decode(), part, marks)

        link.subscribe(subjects.edge_control("z"), answer)
        await link.flush()
        for said in (
            [(b"", None)],
            [(b"\xff", None)],
            [(b'{"answer":"tea"}', None)],
            [(encode_answer(whole), more), (encode_answer(Done()), header_block(Fairlead_Part="2"))],
            [(encode_answer(whole), header_block(Fairlead_Part="2"))],  # the first part is missing
            [(encode_answer(whole), header_block(Fairlead_Part="tea"))],
        ):
            say[:] = said
            with pytest.raises(PeersAway):
                await a.peers.ask("z", Members("x"), LONG_S)
        say[:] = [(encode_answer(whole), more), (encode_answer(members("y", 1)), header_block(Fairlead_Part="2"))]
        assert await a.peers.ask("z", Members("x")) == MembersFound(whole.members | members("y", 1).members)


async def test_no_message_of_a_large_answer_is_large(nats_server):
    async with running(nats_server.url, "a") as a, linked(nats_server.url) as link:
        a.answer = lambda request: members("a", MANY)
        replies = await link.request_many(
            subjects.edge_control("a"), encode_request(Members("x")), lambda headers: b"more" not in (headers or b"")
        )
        assert len(replies) > 1
        assert max(len(data) for _, data in replies) <= peers_nats.PART_BYTES


async def test_an_edge_that_is_asked_too_much_says_so(nats_server, monkeypatch):
    monkeypatch.setattr(peers_nats, "MAX_ANSWERING", 2)
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        go_on = asyncio.Event()

        async def later() -> Done:
            await go_on.wait()
            return Done()

        b.answer = lambda request: later()
        first = [asyncio.create_task(a.peers.ask("b", Members("x"), LONG_S)) for _ in range(2)]
        await eventually(lambda: b.nats_peers.answering == 2)
        with pytest.raises(PeersAway):
            await a.peers.ask("b", Members("x"), LONG_S)
        assert b.nats_peers.refused == 1
        assert await a.peers.ask("b", Probe(), LONG_S) == Done(), "it is alive"
        go_on.set()
        assert await asyncio.gather(*first) == [Done(), Done()]
        assert await a.peers.ask("b", Members("x"), LONG_S) == Done()


async def test_questions_that_wait_are_bounded(nats_server, monkeypatch):
    monkeypatch.setattr(peers_nats, "MAX_ASKING", 3)
    async with running(nats_server.url, "a") as a, running(nats_server.url, "b") as b:
        b.hang()
        waiting = [asyncio.create_task(a.peers.ask("b", Members("x"), LONG_S)) for _ in range(3)]
        await eventually(lambda: a.nats_peers.asking == 3)
        for call in (a.peers.ask("b", Members("x"), LONG_S), a.peers.ask_all(Members("x"), LONG_S)):
            with pytest.raises(PeersAway):
                await call
        for task in waiting:
            task.cancel()
        await eventually(lambda: a.nats_peers.asking == 0)
