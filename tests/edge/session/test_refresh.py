"""New tokens for a connection and for one of its subscriptions (reference 3.7)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec import Raw

from proto.replies import Unsubscribe
from services.edge.backend import hook_results
from services.edge.channels.subscription import AttachRequest
from services.edge.session.actions import Publish
from services.edge.session.effects import Announce, Detach, Send
from services.edge.session.outcomes import HookAnswered
from services.edge.session.server_commands import RefreshClient
from tests.edge.conversation import ATTACHED, START, Conversation, closed_by, connected, started, token


def refresh(**claims: Any) -> dict[str, Any]:
    return {"id": 9, "refresh": {"token": token(**claims)}}


class TestRefresh:
    def expiring(self) -> Conversation:
        return Conversation(ping_interval=0).connected(exp=START + 60)

    def test_with_a_good_token(self) -> None:
        conversation = self.expiring()
        conversation.now = START + 70  # within the grace
        result = conversation.hears(refresh(exp=START + 130))["refresh"]
        assert (result["expires"], result["ttl"], result["client"]) == (True, 60, "c1")
        conversation.now = START + 85
        assert conversation.tick() == []
        conversation.now = START + 155
        assert closed_by(conversation.tick()) == 3005

    def test_with_one_that_never_expires(self) -> None:
        conversation = self.expiring()
        result = conversation.hears(refresh())["refresh"]
        assert "expires" not in result
        assert "ttl" not in result
        assert conversation.session.deadline == math.inf

    def test_its_info_counts_from_then_on(self) -> None:
        conversation = self.expiring()
        conversation.hears(refresh(exp=START + 90, info={"name": "Jo"}))
        assert bytes(conversation.state.identity.info) == b'{"name":"Jo"}'

    def test_without_info_and_meta_the_client_keeps_what_it_has(self) -> None:
        conversation = Conversation().connected(exp=START + 60, info={"name": "Jo"}, meta={"tier": 1})
        conversation.hears(refresh(exp=START + 90))
        identity = conversation.state.identity
        assert (bytes(identity.info), bytes(identity.meta)) == (b'{"name":"Jo"}', b'{"tier":1}')

    def test_with_other_channels_the_client_comes_back(self) -> None:
        for claims in ({}, {"channels": ["open:x"]}, {"channels": ["open:x", "open:y", "open:z"]}):
            conversation = self.with_channels("open:x", "open:y")
            assert conversation.closed(refresh(exp=START + 90, **claims)) == 3010

    def test_with_the_same_channels_in_another_order_or_form(self) -> None:
        for claims in ({"channels": ["open:y", "open:x"]}, {"subs": {"open:x": {}, "open:y": {"data": 1}}}):
            conversation = self.with_channels("open:x", "open:y")
            assert "refresh" in conversation.hears(refresh(exp=START + 90, **claims))

    def with_channels(self, *channels: str) -> Conversation:
        conversation = Conversation(ping_interval=0).connected(exp=START + 60, channels=channels)
        assert list(conversation.state.channels) == list(channels)
        return conversation

    def test_with_an_expired_token(self) -> None:
        conversation = self.expiring()
        assert conversation.closed(refresh(exp=START)) == 3005

    @pytest.mark.parametrize("claims", [{"sub": "43"}, {"sub": ""}, {"channel": "news"}])
    def test_with_the_token_of_somebody_else(self, claims: dict[str, str]) -> None:
        conversation = self.expiring()
        assert conversation.closed(refresh(**claims)) == 3500

    def test_with_a_forged_token(self) -> None:
        assert self.expiring().closed({"id": 9, "refresh": {"token": "x"}}) == 3500

    def test_without_a_token(self) -> None:
        assert self.expiring().closed({"id": 9, "refresh": {}}) == 3501

    def test_where_the_server_asks_a_backend_instead(self) -> None:
        conversation = Conversation(refresh_hook=True).connected(exp=START + 60)
        assert conversation.closed(refresh(exp=START + 60)) == 3501

    @pytest.mark.parametrize("ahead", [0, 30, 600])
    def test_after_a_backend_changed_when_the_connection_expires(self, ahead: int) -> None:
        """The client refreshes when its own token ends, whatever a backend did meanwhile."""
        conversation = self.expiring()
        conversation.server_command(RefreshClient(ahead and int(START) + ahead, Raw(b"")))
        conversation.now = START + 20
        result = conversation.hears(refresh(exp=START + 120))["refresh"]
        assert (result["expires"], result["ttl"]) == (True, 100)
        assert conversation.session.deadline == START + 120 + 25

    def test_of_a_connection_that_never_expires(self) -> None:
        result = connected().hears(refresh(exp=START + 60))["refresh"]
        assert (result["expires"], result["ttl"]) == (True, 60)


class TestInfo:
    """Presence, joins and leaves show a member, publications its info: one truth, whichever refresh brought it."""

    def member(self, conversation: Conversation, channel: str = "seen:x") -> dict[str, object]:
        member = conversation.in_channel(channel).member
        assert member is not None
        return {"conn_info": bytes(member.conn_info), "chan_info": bytes(member.chan_info)}

    def published(self, conversation: Conversation, channel: str) -> dict[str, object]:
        info = conversation.does(Publish, {"id": 8, "publish": {"channel": channel, "data": 1}}).info
        return {"conn_info": bytes(info.conn_info), "chan_info": bytes(info.chan_info)}

    def seen(self) -> Conversation:
        conversation = Conversation().connected(exp=START + 60, info=1)
        conversation.subscribed("seen:x")
        self.announce(conversation)
        return conversation

    def announce(self, conversation: Conversation) -> None:
        """What the node does with the effect `Announce`."""
        for effect in conversation.effects:
            if isinstance(effect, Announce):
                effect.subscription.announced = effect.subscription.member

    def test_of_the_clients_own_refresh(self) -> None:
        conversation = self.seen()
        conversation.hears(refresh(exp=START + 90, info=2))
        assert Announce("seen:x", conversation.in_channel("seen:x")) in conversation.effects
        assert self.member(conversation) == {"conn_info": b"2", "chan_info": b""}
        assert self.published(conversation, "open:x") == {"conn_info": b"2", "chan_info": b""}

    def test_of_a_backend(self) -> None:
        conversation = self.seen()
        conversation.server_command(RefreshClient(0, Raw(b"2")))
        assert Announce("seen:x", conversation.in_channel("seen:x")) in conversation.effects
        assert self.member(conversation) == {"conn_info": b"2", "chan_info": b""}

    def test_of_the_refresh_hook(self) -> None:
        conversation = Conversation(refresh_hook=True, ping_interval=0).connected(exp=START + 60, info=1)
        conversation.subscribed("seen:x")
        self.announce(conversation)
        attach = conversation.does(AttachRequest, {"id": 5, "subscribe": {"channel": "seen:y"}})
        conversation.now = START + 60
        asked = started(conversation.tick())
        effects = conversation.completes(asked, HookAnswered(hook_results.Extended(int(START) + 120, Raw(b"2"))))
        assert Announce("seen:x", conversation.in_channel("seen:x")) in effects
        conversation.completes(attach, ATTACHED)
        for channel in ("seen:x", "seen:y"):  # also of the subscribe that was in progress
            assert self.member(conversation, channel) == {"conn_info": b"2", "chan_info": b""}

    def test_of_a_sub_refresh(self) -> None:
        conversation = Conversation().connected(info=1)
        conversation.subscribed("seen:x", token=token(channel="seen:x", exp=START + 60, info="a"))
        self.announce(conversation)
        command = {"channel": "seen:x", "token": token(channel="seen:x", exp=START + 90, info="b")}
        conversation.hears({"id": 3, "sub_refresh": command})
        assert Announce("seen:x", conversation.in_channel("seen:x")) in conversation.effects
        assert self.member(conversation) == {"conn_info": b"1", "chan_info": b'"b"'}
        assert bytes(conversation.in_channel("seen:x").chan_info) == b'"b"'
        command["token"] = token(channel="seen:x", exp=START + 120)
        conversation.hears({"id": 4, "sub_refresh": command})
        assert self.member(conversation)["chan_info"] == b'"b"', "a token without info changes none"

    def test_that_is_the_same_is_no_news(self) -> None:
        conversation = self.seen()
        conversation.hears(refresh(exp=START + 90, info=1))
        assert not [effect for effect in conversation.effects if isinstance(effect, Announce)]


class TestSubRefresh:
    """3.7."""

    def expiring(self) -> Conversation:
        client = connected()
        client.subscribed("closed:x", token=token(channel="closed:x", exp=START + 60))
        return client

    def refresh(self, **claims: Any) -> dict[str, Any]:
        return {"id": 3, "sub_refresh": {"channel": "closed:x", "token": token(**{"channel": "closed:x"} | claims)}}

    def test_with_a_good_token(self) -> None:
        client = self.expiring()
        client.now = START + 70  # within the grace
        assert client.hears(self.refresh(exp=START + 130)) == {"sub_refresh": {"expires": True, "ttl": 60}}
        assert client.in_channel("closed:x").expires_at == START + 130

    def test_with_one_that_never_expires(self) -> None:
        client = self.expiring()
        assert client.hears(self.refresh()) == {"sub_refresh": {}}
        assert client.in_channel("closed:x").expires_at == 0

    def test_not_subscribed(self) -> None:
        assert connected().error(self.refresh()) == 103

    def test_without_a_token(self) -> None:
        assert self.expiring().error({"id": 3, "sub_refresh": {"channel": "closed:x"}}) == 107

    def test_of_keys_that_are_tracked(self) -> None:
        assert self.expiring().error({"id": 3, "sub_refresh": {"channel": "closed:x", "type": 1}}) == 108

    @pytest.mark.parametrize("claims", [{"exp": START}, {"exp": START + 60, "expire_at": START}, {"nbf": START + 60}])
    def test_with_an_expired_token_the_client_comes_back_with_the_next_one(self, claims: dict[str, Any]) -> None:
        """An error would leave the subscription off for good; 2501 makes SDKs subscribe again."""
        client = self.expiring()
        effects = client.says(self.refresh(**claims))
        push, reply = [effect.reply for effect in effects if isinstance(effect, Send)]
        assert push.push is not None and push.push.unsubscribe == Unsubscribe(2501, "subscription expired")
        assert reply.id == 3 and reply.error is not None and reply.error.code == 110
        assert effects.index(Detach(("closed:x",))) < effects.index(Send(push)) < effects.index(Send(reply))
        assert "closed:x" not in client.state.channels

    def test_with_an_expired_token_for_a_subscription_of_the_server(self) -> None:
        """SDKs cannot repeat it; when they reconnect, the server makes it again."""
        client = Conversation().connected(channels=["closed:x"])
        assert client.closed(self.refresh(exp=START)) == 3006

    @pytest.mark.parametrize("claims", [{"channel": "closed:y"}, {"sub": "7"}, {"client": "c2"}])
    def test_with_the_token_of_another(self, claims: dict[str, Any]) -> None:
        assert self.expiring().closed(self.refresh(**claims)) == 3500

    def test_with_a_forged_token(self) -> None:
        assert self.expiring().closed({"id": 3, "sub_refresh": {"channel": "closed:x", "token": "x"}}) == 3500


def test_a_client_is_told_what_it_is_when_it_refreshes() -> None:
    """3.7; JS stores the client id of the refresh result."""
    conversation = Conversation().connected(exp=START + 60)
    reply = conversation.hears({"id": 9, "refresh": {"token": token(exp=START + 90)}})
    assert reply["refresh"]["client"] == "c1"
