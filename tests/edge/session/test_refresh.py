"""New tokens for a connection and for one of its subscriptions (reference 3.7)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.edge.conversation import START, Conversation, closed_by, connected, token


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

    def test_that_was_not_asked_for(self) -> None:
        conversation = Conversation().connected()
        assert conversation.closed(refresh(exp=START + 60)) == 3501


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

    def test_with_an_expired_token(self) -> None:
        client = self.expiring()
        assert client.error(self.refresh(exp=START)) in (109, 110)
        assert client.in_channel("closed:x").expires_at == START + 60, "it expires all the same"

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
