from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import Raw

from proto import subjects
from proto.members import Joined, encode_member_event
from proto.messages import ClientInfo
from services.chassis.nats.link import NatsLink
from services.edge.cluster.join_leave import JoinLeave
from services.edge.cluster.join_leave_nats import NatsJoinLeave
from tests.contract.join_leave import JoinLeaveContract, Listener, joined
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration


class TestNatsMembership(JoinLeaveContract):
    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[JoinLeave, JoinLeave, Listener, Listener]]:
        server: NatsServer = self.request.getfixturevalue("nats_server")
        async with linked(server.url) as one, linked(server.url) as two:
            a, b, heard_a, heard_b = NatsJoinLeave(one, "a"), NatsJoinLeave(two, "b"), Listener(), Listener()
            a.start(heard_a)
            b.start(heard_b)
            self.links: dict[JoinLeave, NatsLink] = {a: one, b: two}
            yield a, b, heard_a, heard_b

    async def settled(self, join_leave: JoinLeave) -> None:
        await self.links[join_leave].flush()

    async def take_away(self, join_leave: JoinLeave) -> None:
        await self.links[join_leave].close()


async def test_data_that_is_not_an_event_is_ignored(nats_server):
    async with linked(nats_server.url) as link:
        join_leave, heard = NatsJoinLeave(link, "a"), Listener()
        join_leave.start(heard)
        join_leave.open("room:x")
        for data in (b"", b"{", b"\xff", b'{"event":"sat down"}', b'{"event":"joined"}', b"[" * 10_000):
            link.publish(subjects.members("room:x"), data)
        link.publish(subjects.members("room:x"), encode_member_event(joined("b", "c1")))
        await eventually(lambda: heard.clients("room:x") == ["c1"])


async def test_an_open_channel_is_heard_again_after_nats_was_away(nats_server):
    async with linked(nats_server.url) as one, linked(nats_server.url) as two:
        a, b, heard_a = NatsJoinLeave(one, "a"), NatsJoinLeave(two, "b"), Listener()
        a.start(heard_a)
        a.open("room:x")
        await one.flush()
        nats_server.kill9()
        await eventually(lambda: not (one.is_connected or two.is_connected))
        b.publish("room:x", joined("b", "lost"))
        a.open("room:y")
        nats_server.start()
        await eventually(lambda: one.is_connected and two.is_connected)
        await one.flush()
        for channel in ("room:x", "room:y"):
            b.publish(channel, joined("b", "c1"))
        await eventually(lambda: heard_a.clients("room:x") == heard_a.clients("room:y") == ["c1"])


async def test_an_event_that_is_too_large_for_nats_hurts_nobody(nats_server):
    async with linked(nats_server.url) as link:
        join_leave, heard = NatsJoinLeave(link, "a"), Listener()
        join_leave.start(heard)
        join_leave.open("room:x")
        huge = ClientInfo(user="42", client="c1", conn_info=Raw(b'"' + b"x" * 2_000_000 + b'"'))
        join_leave.publish("room:x", Joined("a", huge))
        await eventually(lambda: heard.clients("room:x") == ["c1"])
