"""The subscriptions that the server makes when a client connects (reference 3.2, 3.9, 3.10 and 3.13)."""

from __future__ import annotations

from typing import Any

import pytest

from proto.messages import StreamPosition
from services.edge.channels.subscription import AttachRequest
from services.edge.framing import formats
from services.edge.session.actions import Connect
from tests.edge.conversation import START, Conversation, connect, started_or_none, token


def requests(conversation: Conversation, subs: dict[str, Any] | None = None, **claims: Any) -> dict[str, AttachRequest]:
    """The requests to attach the client, by channel."""
    action = started_or_none(conversation.says({"id": 1, "connect": {"token": token(**claims), "subs": subs or {}}}))
    if action is None:
        return {}
    assert isinstance(action, Connect)
    assert all(each.command_id == 0 and each.subscription.server_side for each in action.requests)
    return {each.channel: each for each in action.requests}


class TestByToken:
    def test_channels(self) -> None:
        """Permissions of namespaces do not matter: the issuer of the token allows it."""
        assert list(requests(Conversation(), channels=["closed:x", "$log:y"])) == ["closed:x", "$log:y"]

    def test_subs_say_more_and_win_over_channels(self) -> None:
        subs = {
            "closed:x": {"info": {"role": "host"}, "data": {"topic": 1}, "override": {"presence": {"value": True}}},
            "log:y": {"override": {"force_recovery": {"value": False}, "force_positioning": {"value": False}}},
        }
        action = Conversation().does(Connect, connect(channels=["open:z"], subs=subs))
        by_channel = {each.channel: each for each in action.requests}
        assert list(by_channel) == ["closed:x", "log:y"]
        host = by_channel["closed:x"]
        assert bytes(host.data) == b'{"topic":1}'
        assert host.subscription.member is not None
        assert bytes(host.subscription.member.chan_info) == b'{"role":"host"}'
        assert (host.subscription.member.user, host.subscription.member.client) == ("42", "c1")
        assert not by_channel["log:y"].subscription.positioned

    def test_without_any_there_are_none(self) -> None:
        assert requests(Conversation(), {"open:x": {"recover": True}}) == {}, "a client cannot add to them"

    def test_an_unknown_namespace_refuses_the_connect(self) -> None:
        assert Conversation().error({"id": 1, "connect": {"token": token(channels=["none:x"])}}) == 102

    @pytest.mark.parametrize("channel", ["open:" + "x" * 251, "x" * 300])
    def test_a_name_that_is_too_long_refuses_it_too(self, channel: str) -> None:
        assert Conversation().error({"id": 1, "connect": {"token": token(channels=[channel])}}) == 107

    def test_names_that_clients_may_not_choose_are_good_enough_for_servers(self) -> None:
        assert list(requests(Conversation(), channels=["word:a b", "open:🎉"])) == ["word:a b", "open:🎉"]

    def test_too_many_end_the_connection(self) -> None:
        three = token(channels=["open:1", "open:2", "open:3"])
        assert Conversation(channel_limit=2).closed({"id": 1, "connect": {"token": three}}) == 3505
        assert len(requests(Conversation(channel_limit=3), channels=["open:1", "open:2", "open:3"])) == 3

    def test_where_a_client_had_come_to_is_heeded(self) -> None:
        at = {"recover": True, "offset": 7, "epoch": "e"}
        found = requests(Conversation(), {"log:x": at, "open:y": at}, channels=["log:x", "open:y", "log:z"])
        assert found["log:x"].recover == StreamPosition(7, "e")
        assert found["open:y"].recover is None, "there is no history"
        assert found["log:z"].recover is None, "it has no position there"
        assert found["log:z"].subscription.recoverable

    def test_a_failed_recovery_is_told_and_no_error(self) -> None:
        at = {"recover": True, "flag": 2}
        assert not requests(Conversation(), {"log:x": at}, channels=["log:x"])["log:x"].reject_unrecovered

    def test_a_delta_is_negotiated_here_too(self) -> None:
        subs = {"diff:x": {"delta": "fossil"}, "open:x": {"delta": "fossil"}}
        found = requests(Conversation(), subs, channels=["diff:x", "open:x"])
        assert found["diff:x"].subscription.delta and not found["open:x"].subscription.delta

    def test_they_expire_with_the_connection_and_not_by_themselves(self) -> None:
        (request,) = requests(Conversation(), channels=["open:x"], exp=START + 60).values()
        assert (request.ttl, request.subscription.expires_at) == (0, 0)


class TestPersonalChannel:
    def test_every_user_has_one(self) -> None:
        assert list(requests(Conversation(subscribe_to_user_personal_channel=True))) == ["#42"]
        mine = Conversation(subscribe_to_user_personal_channel=True, user_personal_channel_namespace="log")
        (request,) = requests(mine).values()
        assert request.channel == "log:#42" and request.subscription.recoverable

    def test_a_client_without_a_user_id_has_none(self) -> None:
        assert requests(Conversation(subscribe_to_user_personal_channel=True), sub="") == {}

    def test_it_comes_once_and_on_the_terms_of_the_token(self) -> None:
        conversation = Conversation(subscribe_to_user_personal_channel=True)
        subs = {"#42": {"data": 1}, "open:x": {}}
        action = conversation.does(Connect, connect(subs=subs))
        assert [(each.channel, bytes(each.data)) for each in action.requests] == [("#42", b"1"), ("open:x", b"")]

    @pytest.mark.parametrize("user", ["7,42", "7#42"])
    def test_of_a_user_whose_id_looks_like_a_list_it_lets_in_nobody_else(self, user: str) -> None:
        section: dict[str, Any] = {
            "subscribe_to_user_personal_channel": True,
            "user_personal_channel_namespace": "limited",
        }
        (channel,) = requests(Conversation(**section), sub=user)
        conversation = Conversation(**section).connected()
        assert conversation.error({"id": 2, "subscribe": {"channel": channel}}) == 103
        conversation.subscribed("limited:talk#7,42")

    def test_it_counts(self) -> None:
        conversation = Conversation(subscribe_to_user_personal_channel=True, channel_limit=1)
        assert conversation.closed({"id": 1, "connect": {"token": token(channels=["open:x"])}}) == 3505


class TestUnidirectional:
    """Such a client cannot subscribe later, so its connect names its channels."""

    def uni(self, **section: Any) -> Conversation:
        return Conversation(format=formats.UNI_WEBSOCKET, **section)

    def test_it_gets_what_a_subscribe_would_get(self) -> None:
        subs = {"news": {}, "log:x": {"recover": True, "offset": 7, "epoch": "e"}}
        found = requests(self.uni(), subs)
        assert list(found) == ["news", "log:x"] and found["log:x"].recover == StreamPosition(7, "e")

    def test_a_channel_of_the_token_needs_no_permission(self) -> None:
        assert list(requests(self.uni(), {"closed:x": {}}, channels=["closed:x"])) == ["closed:x"]

    @pytest.mark.parametrize(
        ("channel", "code"), [("closed:x", 3507), ("$news", 3507), ("limited:x#7", 3507), ("none:x", 3004), ("", 3004)]
    )
    def test_and_no_more(self, channel: str, code: int) -> None:
        assert self.uni().closed({"id": 1, "connect": {"token": token(), "subs": {"news": {}, channel: {}}}}) == code

    def test_and_not_too_many(self) -> None:
        request = {"token": token(channels=["closed:x"]), "subs": {"news": {}, "news2": {}}}
        assert self.uni(channel_limit=2).closed({"id": 1, "connect": request}) == 3505

    def test_its_own_user_limited_channel(self) -> None:
        assert list(requests(self.uni(), {"limited:x#7,42": {}})) == ["limited:x#7,42"]
