"""An edge's answers to the others: its members, and commands for the connections of a user."""

from __future__ import annotations

import pytest
from msgspec import Raw, json

from proto.control import (
    ActiveChannels,
    ChannelsFound,
    ControlRequest,
    CountMembers,
    DisconnectUser,
    Done,
    Emulate,
    Members,
    MembersCounted,
    MembersFound,
    Probe,
    RefreshUser,
    Selector,
    SendUser,
    SubscribeUser,
    Unknown,
    UnsubscribeUser,
)
from proto.messages import ClientInfo
from services.edge.framing import formats
from services.edge.grants import Grant
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import START, EdgeCluster, TestEdge
from tests.support.eventually import eventually

ALICE = Selector("alice")


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET).start()


async def alice(edge: TestEdge) -> Talk:
    return await connected(edge, sub="alice")


class TestWhoIsHere:
    async def test_members_and_their_number(self, edge):
        talks = [await connected(edge, sub=user) for user in ("alice", "alice", "bob", "")]
        for talk in talks:
            await talk.subscribe("room:x")
        answer = edge.control_handler.answer(Members("room:x"))
        users = zip(talks, ("alice", "alice", "bob", ""), strict=True)
        assert answer == MembersFound({talk.id: ClientInfo(user=user, client=talk.id) for talk, user in users})
        assert edge.control_handler.answer(CountMembers("room:x")) == MembersCounted(4, ["", "alice", "bob"])

    async def test_of_a_channel_that_is_not_open(self, edge):
        assert edge.control_handler.answer(Members("room:x")) == MembersFound()
        assert edge.control_handler.answer(CountMembers("room:x")) == MembersCounted()
        assert await edge.control_handler.answer(ActiveChannels()) == ChannelsFound()

    async def test_active_channels(self, edge):
        talk = await connected(edge)
        for channel in ("room:x", "room:y", "chat:x"):
            await talk.subscribe(channel)
        assert await edge.control_handler.answer(ActiveChannels("room:*")) == ChannelsFound({"room:x": 1, "room:y": 1})
        assert await edge.control_handler.answer(ActiveChannels()) == ChannelsFound(
            {"room:x": 1, "room:y": 1, "chat:x": 1}
        )

    async def test_a_probe(self, edge):
        assert edge.control_handler.answer(Probe()) == Done()


class TestWhom:
    """Commands are for the connections that the selector names, and the answer says how many those are."""

    async def test_every_connection_of_the_user_and_nobody_elses(self, edge):
        one, two, other = await alice(edge), await alice(edge), await connected(edge, sub="bob")
        assert edge.control_handler.answer(SendUser(ALICE, Raw(b"1"))) == Done(2)
        assert one.pushes == two.pushes == [{"message": {"data": 1}}] and other.pushes == []

    async def test_one_connection(self, edge):
        one, two = await alice(edge), await alice(edge)
        assert edge.control_handler.answer(SendUser(Selector("alice", client=two.id), Raw(b"1"))) == Done(1)
        assert one.pushes == [] and len(two.pushes) == 1
        assert edge.control_handler.answer(SendUser(Selector("bob", client=two.id), Raw(b"1"))) == Done(0)

    async def test_one_session(self, edge):
        one, two = await alice(edge), Talk(edge, session="secret")
        await two.connect({"sub": "alice"})
        assert edge.control_handler.answer(SendUser(Selector("alice", session="secret"), Raw(b"1"))) == Done(1)
        assert one.pushes == [] and len(two.pushes) == 1

    async def test_all_but_some(self, edge):
        one, two = await alice(edge), await alice(edge)
        request = DisconnectUser(Selector("alice", whitelist=[one.id]), 3503, "force disconnect")
        assert edge.control_handler.answer(request) == Done(1)
        assert one.open and two.closed == 3503

    async def test_nobody_is_there(self, edge):
        await connected(edge, sub="bob")
        requests: list[ControlRequest] = [
            SubscribeUser(ALICE, "chat:x"),
            UnsubscribeUser(ALICE),
            DisconnectUser(ALICE, 3503, "x"),
            RefreshUser(ALICE, expired=True),
            RefreshUser(ALICE),
            SendUser(ALICE, Raw(b"1")),
        ]
        for request in requests:
            assert edge.control_handler.answer(request) == Done(0)

    async def test_anonymous_clients_are_the_user_without_a_name(self, edge):
        talk = await connected(edge)
        assert edge.control_handler.answer(SendUser(Selector(""), Raw(b"1"))) == Done(1)
        assert len(talk.pushes) == 1


class TestCommands:
    async def test_subscribe(self, edge):
        await edge.publish("chat:x", 0)
        talk = await alice(edge)
        grant = Raw(json.encode(Grant(data=Raw(b'{"t":1}'))))
        request = SubscribeUser(ALICE, "chat:x", grant, recover_offset=0, recover_epoch="epoch1", recover=True)
        assert edge.control_handler.answer(request) == Done(1)
        await eventually(lambda: talk.values("chat:x") == [0])
        assert talk.pushes[0]["subscribe"]["data"] == {"t": 1}
        assert edge.control_handler.answer(SubscribeUser(ALICE, "live:y")) == Done(1)
        await eventually(lambda: talk.channels == ["chat:x", "live:y"])

    @pytest.mark.parametrize("grant", [b"[]", b'{"expires_at":"x"}', b"{"])
    async def test_subscribe_on_terms_that_are_none(self, edge, grant):
        talk = await alice(edge)
        assert edge.control_handler.answer(SubscribeUser(ALICE, "chat:x", Raw(grant))) == Unknown()
        assert talk.channels == []

    async def test_unsubscribe(self, edge):
        talk = await alice(edge)
        for channel in ("chat:x", "live:y", "live:z"):
            await talk.subscribe(channel)
        assert edge.control_handler.answer(UnsubscribeUser(ALICE, "chat:x")) == Done(1)
        assert talk.pushes == [{"channel": "chat:x", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}]
        assert edge.control_handler.answer(UnsubscribeUser(ALICE, code=2100, reason="moved")) == Done(1)
        assert talk.channels == [] and talk.pushes[-1]["unsubscribe"] == {"code": 2100, "reason": "moved"}

    async def test_disconnect_does_not_wait(self, edge):
        talk = await alice(edge)
        talk.say({"id": 2, "publish": {"channel": "chat:x", "data": 1}})
        assert edge.control_handler.answer(DisconnectUser(ALICE, 4501, "banned")) == Done(1)
        assert talk.transport.close_frame == (4501, "banned")

    async def test_refresh(self, edge):
        talk = await alice(edge)
        request = RefreshUser(ALICE, expire_at=int(START) + 60, info=Raw(b'{"n":1}'))
        assert edge.control_handler.answer(request) == Done(1)
        assert talk.pushes == [{"refresh": {"expires": True, "ttl": 60}}]
        assert bytes(talk.connection.session.state.info().conn_info) == b'{"n":1}'
        assert edge.control_handler.answer(RefreshUser(ALICE, expired=True)) == Done(1)
        assert talk.closed == 3005


class TestEmulation:
    async def stream(self, edge: TestEdge, format: formats.Format = formats.WEBSOCKET_JSON) -> Talk:
        """A client whose commands come by other requests. (How its replies look does not matter here.)"""
        talk = Talk(edge, format, session="secret")
        edge.context.registry.add_stream("secret", talk.connection)
        return talk

    async def test_commands_reach_the_stream_of_their_session(self, edge):
        talk = await self.stream(edge)
        await talk.connect()
        answer = edge.control_handler.answer(Emulate("secret", b'{"id":2,"subscribe":{"channel":"chat:x"}}\n'))
        assert answer == Done(1)
        assert "subscribe" in await talk.reply(2)

    async def test_nobody_has_this_session(self, edge):
        talk = await self.stream(edge)
        for session in ("", "secre", "secret2", talk.id):
            assert edge.control_handler.answer(Emulate(session, b'{"id":1,"connect":{}}')) == Unknown()
        assert talk.heard == []

    async def test_data_that_is_not_a_command_ends_the_stream(self, edge):
        talk = await self.stream(edge)
        assert edge.control_handler.answer(Emulate("secret", b"\xff")) == Done(1)
        assert talk.closed == 3501

    async def test_a_unidirectional_client_has_nothing_to_say(self, edge):
        talk = await self.stream(edge, formats.UNI_WEBSOCKET)
        assert edge.control_handler.answer(Emulate("secret", b'{"id":1,"connect":{}}')) == Unknown()
        assert talk.heard == []
