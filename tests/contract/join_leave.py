"""What every `services.edge.cluster.join_leave.JoinLeave` promises. Its implementations' tests subclass this."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
from msgspec import Raw

from proto.members import Joined, Left, MemberEvent
from proto.messages import ClientInfo
from services.edge.cluster.join_leave import JoinLeave
from tests.support.eventually import eventually

NAMES = ["room:x", "room:X", "a.b", "*", ">", "a b", "%2E", "grüße", "x" * 255]


def info(client: str) -> ClientInfo:
    return ClientInfo(user="42", client=client, conn_info=Raw(b'{"name":"Jo"}'), chan_info=Raw(b"[1]"))


def joined(edge: str, client: str) -> Joined:
    return Joined(edge, info(client))


def left(edge: str, client: str) -> Left:
    return Left(edge, info(client))


class Listener:
    """Keeps the joins and leaves."""

    def __init__(self) -> None:
        self.events: list[tuple[str, MemberEvent]] = []

    def member_event(self, channel: str, event: MemberEvent) -> None:
        self.events.append((channel, event))

    def clients(self, channel: str) -> list[object]:
        return [event.info.client for name, event in self.events if name == channel]


class JoinLeaveContract:
    """Two edges of one cluster, `a` and `b`, with the events of each."""

    def cluster(self) -> AbstractAsyncContextManager[tuple[JoinLeave, JoinLeave, Listener, Listener]]:
        raise NotImplementedError("the subclass gives two started memberships of one cluster")

    async def settled(self, join_leave: JoinLeave) -> None:
        """Returns when all edges know which channels this edge has opened and closed."""
        raise NotImplementedError

    async def take_away(self, join_leave: JoinLeave) -> None:
        """Cuts this edge off from the others."""
        raise NotImplementedError

    @pytest.fixture
    async def pair(
        self, request: pytest.FixtureRequest
    ) -> AsyncIterator[tuple[JoinLeave, JoinLeave, Listener, Listener]]:
        self.request = request
        async with self.cluster() as pair:
            yield pair

    async def test_every_edge_hears_it_the_teller_too_and_in_order(self, pair):
        a, b, heard_a, heard_b = pair
        for each in (a, b):
            each.open("room:x")
            await self.settled(each)
        events = [joined("a", "c1"), joined("a", "c2"), left("a", "c1"), joined("a", "c1")]
        for event in events:
            a.publish("room:x", event)
        for heard in (heard_a, heard_b):
            await eventually(lambda: len(heard_a.events) == len(heard_b.events) == 4)
            assert heard.events == [("room:x", event) for event in events]

    async def test_nothing_is_heard_within_the_call_itself(self, pair):
        """The edge that publishes is in the middle of a step: it must write its own reply first."""
        a, _, heard_a, _ = pair
        a.open("room:x")
        await self.settled(a)
        a.publish("room:x", joined("a", "c1"))
        assert heard_a.events == []
        await eventually(lambda: len(heard_a.events) == 1)

    async def test_only_open_channels_are_heard(self, pair):
        a, b, heard_a, heard_b = pair
        for each in (a, b):
            each.open("room:x")
            each.open("room:y")
            await self.settled(each)
        b.close("room:x")
        await self.settled(b)
        a.publish("room:x", joined("a", "c1"))
        a.publish("room:y", joined("a", "c2"))
        await eventually(lambda: len(heard_a.events) == 2)
        await eventually(lambda: heard_b.clients("room:y") == ["c2"])
        assert heard_b.clients("room:x") == []

    async def test_opening_and_closing_twice_is_fine(self, pair):
        a, b, heard_a, _ = pair
        a.close("room:x")
        a.open("room:x")
        a.open("room:x")
        await self.settled(a)
        b.publish("room:x", joined("b", "c1"))
        await eventually(lambda: heard_a.clients("room:x") == ["c1"])
        a.close("room:x")
        a.close("room:x")
        a.open("room:x")
        await self.settled(a)
        b.publish("room:x", joined("b", "c2"))
        await eventually(lambda: heard_a.clients("room:x") == ["c1", "c2"])

    async def test_channels_do_not_mix(self, pair):
        a, b, heard_a, _ = pair
        for name in NAMES:
            a.open(name)
        await self.settled(a)
        for number, name in enumerate(NAMES):
            b.publish(name, joined("b", f"c{number}"))
        await eventually(lambda: len(heard_a.events) == len(NAMES))
        assert [heard_a.clients(name) for name in NAMES] == [[f"c{number}"] for number in range(len(NAMES))]

    async def test_an_edge_that_is_cut_off_tells_its_own_clients_only(self, pair):
        a, b, heard_a, heard_b = pair
        for each in (a, b):
            each.open("room:x")
            await self.settled(each)
        await self.take_away(a)
        events = [joined("a", "c1"), left("a", "c1")]
        for event in events:
            a.publish("room:x", event)
        await eventually(lambda: heard_a.events == [("room:x", event) for event in events])
        b.publish("room:x", joined("b", "c2"))
        await eventually(lambda: heard_b.clients("room:x") == ["c2"])
        a.open("room:y")
        a.close("room:y")
        a.publish("room:y", joined("a", "c1"))
        assert heard_a.clients("room:y") == []
