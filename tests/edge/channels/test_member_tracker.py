"""Joins and leaves over several edges, some of which fail: no event is told twice, no ghost stays."""

from __future__ import annotations

import asyncio
import random

import pytest

from proto.control import ActiveChannels, Members
from proto.members import Joined, Left
from proto.messages import ClientInfo
from services.edge.broker.broker import BrokerAway
from services.edge.channels import channel_registry
from services.edge.channels import remote_members as roster_module
from tests.support.cluster import FakeSubscriber, TestEdge, attach_request, settled
from tests.support.eventually import eventually


def info(client: str) -> ClientInfo:
    return ClientInfo(user="42", client=client)


def questions(edge: TestEdge) -> int:
    return sum(isinstance(request, Members) for request in edge.asked)


async def test_joins_and_leaves_reach_the_subscribers_of_every_edge(a, b):
    one, _ = await a.subscribe("room:x", client="c1")
    await eventually(lambda: one.members == [("join", "c1")])  # a subscriber gets its own
    two, _ = await b.subscribe("room:x", client="c2")
    await eventually(lambda: one.members == [("join", "c1"), ("join", "c2")])
    await eventually(lambda: two.members == [("join", "c2")])
    b.node.unsubscribe(two, "room:x")
    await eventually(lambda: one.members[2:] == [("leave", "c2")])
    assert one.pushes[-1] == {"channel": "room:x", "leave": {"info": {"user": "42", "client": "c2"}}}
    assert two.members == [("join", "c2")], "whoever left is told nothing more"


async def test_only_who_wants_to_know_is_told_but_of_everybody(a, b):
    curious, _ = await a.subscribe("lobby:x", client="c1", pushes_join_leave=True)
    other, _ = await a.subscribe("lobby:x", client="c2")
    third, _ = await b.subscribe("lobby:x", client="c3")
    await eventually(lambda: curious.members == [("join", "c1"), ("join", "c2"), ("join", "c3")])
    assert other.pushes == third.pushes == []
    assert questions(a) == 0 and questions(b) == 1, "an edge where nobody wants to know keeps no remote_members"


async def test_a_hidden_member_is_not_announced(a):
    subscriber, _ = await a.subscribe("room:x", client="c1", member=None)
    witness, _ = await a.subscribe("room:x", client="c2")
    await eventually(lambda: subscriber.members == [("join", "c2")])
    a.node.unsubscribe(subscriber, "room:x")
    await a.subscribe("room:x", client="c3")
    await eventually(lambda: witness.members == [("join", "c2"), ("join", "c3")])


async def test_a_leave_without_a_join_is_not_told(a, b):
    """A subscriber whose reply was never sent, because its connection ended meanwhile."""
    witness, _ = await a.subscribe("room:x", client="c1")
    for edge in (a, b):
        unborn = FakeSubscriber(node=edge.node)
        await edge.node.subscribe(unborn, attach_request("room:x", client="c2"))
        edge.node.unsubscribe(unborn, "room:x")
        await edge.subscribe("room:x", client=f"on {edge.instance}")
    here, there = f"on {a.instance}", f"on {b.instance}"
    await eventually(lambda: witness.members == [("join", "c1"), ("join", here), ("join", there)])


class TestLostEdges:
    async def test_its_members_leave_once(self, a, b, cluster):
        c = await TestEdge(cluster).start()
        for client in ("c2", "c3"):
            await b.subscribe("room:x", client=client)
        here, _ = await a.subscribe("room:x", client="w0")
        there, _ = await c.subscribe("room:x", client="w1")
        await eventually(lambda: there.members == [("join", "w1")])
        b.kill()
        gone = [("leave", "c2"), ("leave", "c3")]
        await eventually(lambda: here.members[2:] == there.members[1:] == gone)
        assert list(await a.node.presence.members("room:x")) == ["w0", "w1"]

    async def test_of_channels_that_nobody_here_is_in_nothing_is_known(self, a, b):
        await b.subscribe("room:x", client="c2")
        elsewhere, _ = await a.subscribe("room:y", client="c1")
        b.kill()
        await eventually(lambda: a.cluster.instances() == [])
        assert elsewhere.members == [("join", "c1")]

    async def test_its_last_words_change_nothing(self, a, b, cluster):
        """They were under way, or it lives on and does not know that it was taken for lost."""
        await b.subscribe("room:x", client="c2")
        witness, _ = await a.subscribe("room:x", client="c1")
        await eventually(lambda: witness.members == [("join", "c1")])
        cluster.peers.lose(b.instance)
        await eventually(lambda: witness.members[1:] == [("leave", "c2")])
        b.join_leave.publish("room:x", Left(b.instance, info("c2")))
        b.join_leave.publish("room:x", Joined(b.instance, info("c4")))
        third, _ = await a.subscribe("room:x", client="c3")
        await eventually(lambda: third.members == [("join", "c3")])
        assert witness.members[1:] == [("leave", "c2"), ("join", "c3")]

    async def test_when_it_is_found_again_its_members_join(self, a, b, cluster):
        two, _ = await b.subscribe("room:x", client="c2")
        await b.subscribe("room:x", client="c3")
        witness, _ = await a.subscribe("room:x", client="c1")
        await eventually(lambda: witness.members == [("join", "c1")])
        cluster.peers.lose(b.instance)
        await eventually(lambda: witness.members[1:] == [("leave", "c2"), ("leave", "c3")])
        b.node.unsubscribe(two, "room:x")  # while no edge listens to it
        await b.subscribe("room:x", client="c4")
        await settled()
        cluster.peers.wake(b.instance)
        await eventually(lambda: witness.members[3:] == [("join", "c3"), ("join", "c4")])
        b.kill()
        await eventually(lambda: witness.members[5:] == [("leave", "c3"), ("leave", "c4")])

    async def test_an_edge_that_sends_its_clients_away_tells_those_of_others_alone(self, a, b):
        witness, _ = await a.subscribe("room:x", client="c1")
        stays, _ = await b.subscribe("room:x", client="c2")
        goes, _ = await b.subscribe("room:x", client="c3")
        await eventually(lambda: stays.members[-1:] == witness.members[-1:] == [("join", "c3")])
        b.node.member_tracker.suppress_own_leaves()
        b.node.unsubscribe(goes, "room:x")
        await eventually(lambda: witness.members[-1:] == [("leave", "c3")])
        assert stays.members[-1:] == [("join", "c3")]

    async def test_a_new_edge_tells_of_everybody_who_comes_there(self, a, cluster):
        witness, _ = await a.subscribe("room:x", client="c1")
        c = await TestEdge(cluster).start()
        await eventually(lambda: c.asked == [ActiveChannels()])
        two, _ = await c.subscribe("room:x", client="c2")
        await c.subscribe("room:x", client="c3")
        c.node.unsubscribe(two, "room:x")
        await eventually(lambda: witness.members == [("join", "c1"), ("join", "c2"), ("join", "c3"), ("leave", "c2")])
        c.kill()
        await eventually(lambda: witness.members[4:] == [("leave", "c3")])

    async def test_an_edge_is_asked_for_no_more_than_what_it_has(self, a, b, cluster):
        for n in range(5):
            await a.subscribe(f"room:{n}", client="c1")
        await b.subscribe("room:3", client="c2")
        before = questions(b)
        cluster.peers.lose(b.instance)
        cluster.peers.wake(b.instance)
        await eventually(lambda: questions(b) == before + 1)

    async def test_members_of_an_unknown_edge_are_announced_when_it_is_found(self, a, b, cluster):
        witness, _ = await a.subscribe("room:x", client="c1")
        cluster.peers.lose(b.instance)
        await b.subscribe("room:x", client="c2")
        gone, _ = await b.subscribe("room:x", client="c3")
        b.node.unsubscribe(gone, "room:x")
        await settled()
        assert witness.members == [("join", "c1")]
        cluster.peers.wake(b.instance)
        await eventually(lambda: witness.members == [("join", "c1"), ("join", "c2")])


class TestSnapshots:
    async def test_an_edge_with_somebody_to_tell_knows_who_was_there_before(self, a, b):
        await b.subscribe("room:x", client="c2")
        witness, _ = await a.subscribe("room:x", client="c1")
        assert witness.members == [] or witness.members == [("join", "c1")], "they did not come just now"
        b.kill()
        await eventually(lambda: ("leave", "c2") in witness.members)

    async def test_many_subscribers_at_once_ask_once(self, a, b):
        await asyncio.gather(*(a.subscribe("room:x", client=f"c{n}") for n in range(5)))
        assert questions(b) == 1

    async def test_a_snapshot_that_fails_fails_the_subscribe_and_the_next_one_tries_again(self, a, b, cluster):
        a.peers.away = True
        with pytest.raises(BrokerAway):
            await a.subscribe("room:x", client="c1")
        assert a.node.presence.members_here("room:x") == {}
        a.peers.away = False
        witness, _ = await a.subscribe("room:x", client="c1")
        await b.subscribe("room:x", client="c2")
        await eventually(lambda: witness.members == [("join", "c1"), ("join", "c2")])

    async def test_an_edge_that_is_lost_meanwhile_has_no_members(self, a, b, cluster):
        await b.subscribe("room:x", client="c2")
        cluster.peers.hang(b.instance)
        subscribing = asyncio.create_task(a.subscribe("room:x", client="c1"))
        await eventually(lambda: a.node.channels.get("room:x").remote_members is not None)
        cluster.peers.lose(b.instance)
        witness, _ = await subscribing
        await eventually(lambda: witness.members == [("join", "c1")])

    async def test_a_join_that_overtakes_the_snapshot_counts_once(self, a, b):
        """c2 joins after the question was asked: it may be in the answer, and its join is told anyway."""

        def comes_meanwhile(request):
            if request == Members("room:x"):
                subscribing.append(asyncio.get_running_loop().create_task(b.subscribe("room:x", client="c2")))

        subscribing: list[asyncio.Task[object]] = []
        b.when_asked = comes_meanwhile
        witness, _ = await a.subscribe("room:x", client="c1")
        await asyncio.gather(*subscribing)
        await eventually(lambda: ("join", "c1") in witness.members)
        b.kill()
        await eventually(lambda: witness.members.count(("leave", "c2")) == 1)
        assert witness.members.count(("join", "c2")) <= 1


class TestWhenTheBrokerIsBack:
    async def test_missed_joins_and_leaves_are_told(self, a, b):
        witness, _ = await a.subscribe("room:x", client="c1")
        two, _ = await b.subscribe("room:x", client="c2")
        three, _ = await b.subscribe("room:x", client="c3")
        await eventually(lambda: len(witness.members) == 3)
        a.join_leave.away = True
        a.broker.go_away()
        b.node.unsubscribe(two, "room:x")
        await b.subscribe("room:x", client="c4")
        a.join_leave.away = False
        a.broker.come_back()
        await eventually(lambda: witness.members[3:] == [("leave", "c2"), ("join", "c4")])
        b.node.unsubscribe(three, "room:x")
        await eventually(lambda: witness.members[5:] == [("leave", "c3")])

    async def test_what_another_edge_missed_to_say_while_it_alone_was_cut_off_is_told(self, a, b):
        witness, _ = await a.subscribe("room:x", client="c1")
        two, _ = await b.subscribe("room:x", client="c2")
        await eventually(lambda: len(witness.members) == 2)
        b.join_leave.away = True
        b.broker.go_away()
        b.node.unsubscribe(two, "room:x")
        b.join_leave.away = False
        b.broker.come_back()
        await b.subscribe("room:x", client="c3")
        await eventually(lambda: ("join", "c3") in witness.members)
        assert ("leave", "c2") not in witness.members, "nobody heard it"
        a.cluster.returned(b.instance)
        await eventually(lambda: witness.members[2:] == [("join", "c3"), ("leave", "c2")])

    async def test_an_edge_s_own_members_come_and_go_meanwhile(self, a):
        witness, _ = await a.subscribe("room:x", client="c1")
        a.join_leave.away = True
        a.broker.go_away()
        two, _ = await a.subscribe("room:x", client="c2")
        a.node.unsubscribe(two, "room:x")
        await eventually(lambda: witness.members == [("join", "c1"), ("join", "c2"), ("leave", "c2")])

    async def test_when_an_edge_does_not_answer_the_others_do(self, a, b, cluster):
        c = await TestEdge(cluster).start()
        witness, _ = await a.subscribe("room:x", client="c1")
        two, _ = await b.subscribe("room:x", client="c2")
        await eventually(lambda: len(witness.members) == 2)

        def fail(request, cause):
            raise RuntimeError("on purpose")

        c.peers._responder = fail
        a.join_leave.away = True
        a.broker.go_away()
        b.node.unsubscribe(two, "room:x")
        a.join_leave.away = False
        a.broker.come_back()
        await eventually(lambda: witness.members[2:] == [("leave", "c2")])


async def test_a_full_roster_tells_neither_the_join_nor_the_leave(a, b, monkeypatch):
    monkeypatch.setattr(roster_module, "MAX_MEMBERS", 1)
    witness, _ = await a.subscribe("room:x", client="c1")
    await b.subscribe("room:x", client="c2")
    three, _ = await b.subscribe("room:x", client="c3")
    b.node.unsubscribe(three, "room:x")
    await a.subscribe("room:x", client="c4")
    await eventually(lambda: ("join", "c4") in witness.members)
    assert witness.members == [("join", "c1"), ("join", "c2"), ("join", "c4")]


async def test_a_channel_that_is_closed_is_not_listened_to_any_more(a, b, monkeypatch):
    monkeypatch.setattr(channel_registry, "LINGER_S", -1.0)
    one, _ = await a.subscribe("room:x", client="c1")
    a.node.unsubscribe(one, "room:x")
    await eventually(lambda: one.members == [])
    a.node.channels.sweep()
    assert a.join_leave._open == set()
    again, _ = await a.subscribe("room:x", client="c2")
    await b.subscribe("room:x", client="c3")
    await eventually(lambda: again.members == [("join", "c2"), ("join", "c3")])
    assert questions(b) == 2, "what was known of it is out of date"


async def test_a_watcher_from_the_beginning_sees_the_truth_whatever_happens(cluster, a):
    """Clients come and go on three edges, edges are lost, found again and killed: the events told add up."""
    rng = random.Random(11)
    edges = [await TestEdge(cluster).start() for _ in range(3)]
    watcher, _ = await a.subscribe("room:x", client="watcher")
    inside: dict[str, tuple[TestEdge, FakeSubscriber]] = {}
    count = 0
    for step in range(400):
        if rng.random() < 0.6 or not inside:
            edge = rng.choice(edges)
            count += 1
            name = f"c{count}"
            inside[name] = (edge, (await edge.subscribe("room:x", client=name))[0])
        else:
            name = rng.choice(list(inside))
            edge, subscriber = inside.pop(name)
            edge.node.unsubscribe(subscriber, "room:x")
        if step % 40 == 20:
            cluster.peers.lose(rng.choice(edges).instance)
        if step % 40 == 30:
            for edge in edges:
                cluster.peers.wake(edge.instance)
        if step == 200:
            dead = edges.pop()
            dead.kill()
            inside = {name: here for name, here in inside.items() if here[0] is not dead}
    for edge in edges:
        cluster.peers.wake(edge.instance)

    def seen() -> set[str]:
        there: set[str] = set()
        for kind, client in watcher.members:
            if kind == "join":
                assert client not in there, f"{client} joined twice"
                there.add(client)
            else:
                assert client in there, f"{client} left and was not there"
                there.remove(client)
        return there

    await eventually(lambda: seen() == {"watcher", *inside})
