from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import Raw

from proto import subjects
from proto.members import Joined, encode_member_event
from proto.messages import ClientInfo
from services.chassis.nats.link import NatsLink
from services.edge.cluster.membership import Membership
from services.edge.cluster.membership_nats import NatsMembership
from tests.contract.membership import Listener, MembershipContract, joined
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration


class TestNatsMembership(MembershipContract):
    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[Membership, Membership, Listener, Listener]]:
        server: NatsServer = self.request.getfixturevalue("nats_server")
        async with linked(server.url) as one, linked(server.url) as two:
            a, b, heard_a, heard_b = NatsMembership(one, "a"), NatsMembership(two, "b"), Listener(), Listener()
            a.start(heard_a)
            b.start(heard_b)
            self.links: dict[Membership, NatsLink] = {a: one, b: two}
            yield a, b, heard_a, heard_b

    async def settled(self, membership: Membership) -> None:
        await self.links[membership].settle()

    async def take_away(self, membership: Membership) -> None:
        await self.links[membership].close()


async def test_what_is_no_event_is_ignored(nats_server):
    async with linked(nats_server.url) as link:
        membership, heard = NatsMembership(link, "a"), Listener()
        membership.start(heard)
        membership.open("room:x")
        for data in (b"", b"{", b"\xff", b'{"event":"sat down"}', b'{"event":"joined"}', b"[" * 10_000):
            link.publish_now(subjects.members("room:x"), data)
        link.publish_now(subjects.members("room:x"), encode_member_event(joined("b", "c1")))
        await eventually(lambda: heard.clients("room:x") == ["c1"])


async def test_an_open_channel_is_heard_again_after_nats_was_away(nats_server):
    async with linked(nats_server.url) as one, linked(nats_server.url) as two:
        a, b, heard_a = NatsMembership(one, "a"), NatsMembership(two, "b"), Listener()
        a.start(heard_a)
        a.open("room:x")
        await one.settle()
        nats_server.kill9()
        await eventually(lambda: not (one.is_connected or two.is_connected))
        b.tell("room:x", joined("b", "lost"))
        a.open("room:y")
        nats_server.start()
        await eventually(lambda: one.is_connected and two.is_connected)
        await one.settle()
        for channel in ("room:x", "room:y"):
            b.tell(channel, joined("b", "c1"))
        await eventually(lambda: heard_a.clients("room:x") == heard_a.clients("room:y") == ["c1"])


async def test_an_event_that_is_too_large_for_nats_hurts_nobody(nats_server):
    async with linked(nats_server.url) as link:
        membership, heard = NatsMembership(link, "a"), Listener()
        membership.start(heard)
        membership.open("room:x")
        huge = ClientInfo(user="42", client="c1", conn_info=Raw(b'"' + b"x" * 2_000_000 + b'"'))
        membership.tell("room:x", Joined("a", huge))
        await eventually(lambda: heard.clients("room:x") == ["c1"])
