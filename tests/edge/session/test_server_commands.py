"""Server commands for a client and their effects (reference 3.13). See also `test_session`."""

from __future__ import annotations

import pytest
from msgspec import Raw

from proto import codes
from proto.messages import StreamPosition
from services.edge.channels.subscription import AttachRequest
from services.edge.grants import Grant
from services.edge.session.actions import Publish
from services.edge.session.effects import Flush
from services.edge.session.server_commands import RefreshClient, SendToClient, SubscribeClient, UnsubscribeClient
from tests.edge.conversation import ATTACHED, START, Conversation, connect, connected, logged, said, started


def subscription(conversation: Conversation, command: SubscribeClient) -> AttachRequest:
    """The effects of the command."""
    action = started(conversation.server_command(command))
    assert isinstance(action, AttachRequest)
    return action


class TestSubscribe:
    def test_it_is_the_servers_subscription_on_the_terms_of_the_grant(self) -> None:
        """Permissions of namespaces do not matter: the backend allows it."""
        conversation = connected()
        action = subscription(
            conversation, SubscribeClient("closed:x", Grant(data=Raw(b"1"), expires_at=int(START) + 9))
        )
        assert (action.command_id, action.channel, bytes(action.data), action.ttl) == (0, "closed:x", b"1", 9)
        assert action.subscription.server_side and action.recover is None
        assert said(conversation.completes(action, ATTACHED)) == {"push": {"channel": "closed:x", "subscribe": {}}}

    def test_a_position_is_heeded_where_the_namespace_lets_clients_recover(self) -> None:
        since = StreamPosition(7, "e")
        assert subscription(connected(), SubscribeClient("log:x", Grant(), since)).recover == since
        assert subscription(connected(), SubscribeClient("open:x", Grant(), since)).recover is None

    def test_where_the_client_is_subscribed_already_nothing_changes(self) -> None:
        conversation = connected()
        conversation.subscribed("news")
        effects = conversation.server_command(SubscribeClient("news", Grant()))
        assert effects == [Flush(("news",))]
        assert not conversation.in_channel("news").server_side

    @pytest.mark.parametrize(
        ("channel", "why"), [("none:x", "namespace is not configured"), ("", "1 to 255"), ("x" * 256, "1 to 255")]
    )
    def test_a_failed_server_command_is_logged_and_not_told_to_the_client(self, channel: str, why: str) -> None:
        conversation = connected()
        effects = conversation.server_command(SubscribeClient(channel, Grant()))
        assert "a backend's subscribe was refused" in logged(effects) and why in logged(effects)
        assert [type(effect).__name__ for effect in effects] == ["Flush", "LogRefusal", "RecordRefusal"]

    def test_no_more_channels_than_a_client_may_have(self) -> None:
        conversation = connected(channel_limit=1)
        conversation.subscribed("news")
        assert "client.channel_limit" in logged(conversation.server_command(SubscribeClient("open:x", Grant())))

    def test_a_grant_that_has_expired_is_refused(self) -> None:
        effects = connected().server_command(SubscribeClient("open:x", Grant(expires_at=int(START))))
        assert "expired" in logged(effects)


class TestUnsubscribe:
    def test_from_one_channel_or_from_all(self) -> None:
        conversation = connected()
        for channel in ("news", "open:x", "open:y"):
            conversation.subscribed(channel)
        effects = conversation.server_command(UnsubscribeClient("open:x", codes.UNSUBSCRIBED_BY_SERVER))
        assert said(effects)["push"]["channel"] == "open:x"
        conversation.server_command(UnsubscribeClient("", codes.UNSUBSCRIBED_BY_SERVER))
        assert conversation.state.channels == {}

    def test_from_where_it_never_was(self) -> None:
        conversation = connected()
        assert conversation.server_command(UnsubscribeClient("news", codes.UNSUBSCRIBED_BY_SERVER)) == [Flush(())]


class TestRefreshAndMessages:
    def test_the_client_is_told_of_its_new_end(self) -> None:
        conversation = connected(ping_interval=0)
        conversation.subscribed("seen:x")
        effects = conversation.server_command(RefreshClient(int(START) + 60, Raw(b'{"n":2}')))
        assert said(effects) == {"push": {"refresh": {"expires": True, "ttl": 60}}}
        assert conversation.session.deadline == START + 85
        member = conversation.in_channel("seen:x").member
        assert bytes(conversation.state.info().conn_info) == b'{"n":2}'
        assert member is not None and bytes(member.conn_info) == b'{"n":2}', "others see it too"

    def test_a_message_comes_behind_what_was_published_before(self) -> None:
        conversation = connected()
        conversation.subscribed("news")
        effects = conversation.server_command(SendToClient(Raw(b"1")))
        assert effects[0] == Flush(("news",)) and said(effects) == {"push": {"message": {"data": 1}}}


class TestWhoGetsThem:
    def test_nobody_who_has_not_connected(self) -> None:
        assert Conversation().server_command(SendToClient(Raw(b"1"))) == []

    def test_nobody_whose_connect_was_refused(self) -> None:
        conversation = Conversation()
        assert conversation.error(connect(exp=START - 1)) == 109
        assert conversation.server_command(SendToClient(Raw(b"1"))) == []

    def test_a_client_that_is_busy_once_it_is_done(self) -> None:
        conversation = connected()
        publish = conversation.does(Publish, {"id": 2, "publish": {"channel": "open:x", "data": 1}})
        assert conversation.server_command(SubscribeClient("open:x", Grant())) == []
        conversation.fails(publish)
        assert isinstance(started(conversation.effects), AttachRequest)
