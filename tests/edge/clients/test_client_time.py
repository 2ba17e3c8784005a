"""What the passing of time demands of a client: stale, pings, expiry and refresh (reference 1.3, 1.4 and 3.7)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from services.edge.clients.actions import Close, Connected, EndSubscription, Nothing, Ping, TimedAction
from services.edge.framing import formats
from tests.edge.conversation import START, Conversation, token


def at(conversation: Conversation, seconds: float) -> TimedAction:
    """What is due that many seconds after the start."""
    conversation.now = START + seconds
    return conversation.client.due(conversation.now)


def code(action: TimedAction) -> int:
    assert isinstance(action, Close), action
    return action.close.code


def refresh(conversation: Conversation, **claims: Any) -> dict[str, Any]:
    return {"id": 9, "refresh": {"token": token(**claims)}}


class TestStale:
    def test_a_connection_without_a_connect_ends(self) -> None:
        conversation = Conversation()
        assert conversation.client.deadline == START + 10
        assert at(conversation, 9.9) == Nothing()
        assert code(at(conversation, 10)) == 3502

    def test_a_refused_one_too(self) -> None:
        conversation = Conversation()
        assert conversation.error({"id": 1, "connect": {"token": token(exp=1)}}) == 109
        assert conversation.client.deadline == START + 10
        assert code(at(conversation, 10)) == 3502

    def test_a_connected_one_does_not(self) -> None:
        assert at(Conversation(ping_interval=0).connected(), 1e6) == Nothing()


class TestPing:
    @pytest.mark.parametrize(("jitter", "first"), [(0.0, 12.5), (0.5, 18.75), (0.999, 24.9875)])
    def test_the_first_comes_in_the_second_half_of_an_interval(self, jitter: float, first: float) -> None:
        conversation = Conversation(jitter).connected()
        assert conversation.client.deadline == pytest.approx(START + first)
        assert at(conversation, first - 0.01) == Nothing()
        assert at(conversation, first + 0.01) == Ping()

    def test_further_ones_follow_the_pong_by_an_interval(self) -> None:
        conversation = Conversation().connected()
        assert at(conversation, 12.5) == Ping()
        conversation.now = START + 13
        assert conversation.says({}) == Nothing()
        assert conversation.client.deadline == START + 13 + 25
        assert at(conversation, 37.9) == Nothing()
        assert at(conversation, 38) == Ping()

    def test_without_a_pong_the_connection_ends(self) -> None:
        conversation = Conversation().connected()
        assert at(conversation, 12.5) == Ping()
        assert conversation.client.deadline == START + 20.5
        assert at(conversation, 20.4) == Nothing()
        assert code(at(conversation, 20.5)) == 3012

    def test_other_commands_are_no_pong(self) -> None:
        conversation = Conversation().connected()
        assert at(conversation, 12.5) == Ping()
        conversation.error({"id": 2, "history": {"channel": "news"}})
        assert code(at(conversation, 20.5)) == 3012

    def test_a_client_that_cannot_take_our_ping_is_excused(self) -> None:
        conversation = Conversation().connected()
        assert at(conversation, 12.5) == Ping()
        conversation.client.excuse_pong(START + 20)
        assert at(conversation, 20.5) == Nothing()
        assert code(at(conversation, 28)) == 3012

    def test_an_excuse_puts_off_no_ping(self) -> None:
        conversation = Conversation().connected()
        conversation.client.excuse_pong(START + 12)
        assert at(conversation, 12.5) == Ping()

    def test_a_pong_that_nobody_asked_for_ends_the_connection(self) -> None:
        assert Conversation().connected().closed({}) == 3501

    def test_a_second_pong_too(self) -> None:
        conversation = Conversation().connected()
        assert at(conversation, 12.5) == Ping()
        assert conversation.says({}) == Nothing()
        assert conversation.closed({}) == 3501

    def test_pings_can_be_switched_off(self) -> None:
        conversation = Conversation(ping_interval=0).connected()
        assert conversation.client.deadline == math.inf
        assert conversation.closed({}) == 3501

    def test_a_client_that_wants_websocket_pings_gets_those(self) -> None:
        conversation = Conversation()
        conversation.client.native_pings = True
        result = conversation.hears({"id": 1, "connect": {"token": token()}})["connect"]
        assert "ping" not in result and "pong" not in result
        conversation.client.native_pong(START + 1)  # nobody asked, which is allowed there
        assert at(conversation, 12.5) == Ping(native=True)
        conversation.client.native_pong(START + 13)
        assert at(conversation, 20.5) == Nothing()
        assert at(conversation, 38) == Ping(native=True)
        assert code(at(conversation, 46)) == 3012

    def test_a_client_that_cannot_answer_is_pinged_and_not_waited_for(self) -> None:
        conversation = Conversation(format=formats.UNI_SSE).connected()
        for seconds in (12.5, 37.5, 62.5):
            assert at(conversation, seconds - 0.1) == Nothing()
            assert at(conversation, seconds) == Ping()


class TestExpiry:
    def test_a_grace_follows_the_ttl(self) -> None:
        conversation = Conversation(ping_interval=0).connected(exp=START + 60)
        assert conversation.client.deadline == START + 85
        assert at(conversation, 84.9) == Nothing()
        assert code(at(conversation, 85)) == 3005

    def test_it_comes_before_a_missing_pong(self) -> None:
        conversation = Conversation(expired_close_delay=0).connected(exp=START + 13)
        assert conversation.client.deadline == START + 12.5
        assert at(conversation, 12.5) == Ping()
        assert conversation.client.deadline == START + 13
        assert code(at(conversation, 30)) == 3005

    def test_expire_at_wins_over_exp(self) -> None:
        conversation = Conversation(ping_interval=0).connected(exp=START + 60, expire_at=START + 600)
        assert conversation.client.deadline == START + 625

    def test_expire_at_zero_is_never(self) -> None:
        assert Conversation(ping_interval=0).connected(exp=START + 60, expire_at=0).client.deadline == math.inf

    def test_when_a_backend_says_so(self) -> None:
        conversation = Conversation(ping_interval=0).connected()
        conversation.client.prolong(int(START) + 60)
        assert conversation.client.deadline == START + 85
        assert code(at(conversation, 85)) == 3005
        conversation.client.prolong(0)
        assert at(conversation, 85) == Nothing()


class TestSubscriptionExpiry:
    """A grace follows the ttl; SDKs subscribe anew after the end of one of their own, and connect anew otherwise."""

    def subscribed(self, **section: Any) -> Conversation:
        conversation = Conversation(ping_interval=0, **section).connected()
        conversation.subscribed("closed:x", token=token(channel="closed:x", exp=START + 60))
        conversation.subscribed("closed:y", token=token(channel="closed:y", exp=START + 90))
        return conversation

    def test_one_of_the_clients_own(self) -> None:
        conversation = self.subscribed()
        assert conversation.client.deadline == START + 85
        assert at(conversation, 84.9) == Nothing()
        assert at(conversation, 85) == EndSubscription("closed:x")
        del conversation.client.channels["closed:x"]
        assert conversation.client.deadline == START + 115
        assert at(conversation, 115) == EndSubscription("closed:y")

    def test_the_grace_is_a_setting(self) -> None:
        assert at(self.subscribed(expired_close_delay=5), 65) == EndSubscription("closed:x")

    def test_one_that_was_refreshed(self) -> None:
        conversation = self.subscribed()
        refreshed = token(channel="closed:x", exp=START + 300)
        conversation.hears({"id": 3, "sub_refresh": {"channel": "closed:x", "token": refreshed}})
        assert at(conversation, 85) == Nothing()
        assert conversation.client.deadline == START + 115

    def test_one_of_the_servers_making(self) -> None:
        conversation = self.subscribed()
        conversation.in_channel("closed:x").server_side = True
        assert code(at(conversation, 85)) == 3006


class TestRefresh:
    def expiring(self) -> Conversation:
        return Conversation(ping_interval=0).connected(exp=START + 60)

    def test_with_a_good_token(self) -> None:
        conversation = self.expiring()
        conversation.now = START + 70  # within the grace
        result = conversation.hears(refresh(conversation, exp=START + 130))["refresh"]
        assert (result["expires"], result["ttl"], result["client"]) == (True, 60, "c1")
        assert at(conversation, 85) == Nothing()
        assert code(at(conversation, 155)) == 3005

    def test_with_one_that_never_expires(self) -> None:
        conversation = self.expiring()
        result = conversation.hears(refresh(conversation))["refresh"]
        assert "expires" not in result
        assert "ttl" not in result
        assert conversation.client.deadline == math.inf

    def test_its_info_counts_from_then_on(self) -> None:
        conversation = self.expiring()
        conversation.hears(refresh(conversation, exp=START + 90, info={"name": "Jo"}))
        assert bytes(conversation.client.identity.info) == b'{"name":"Jo"}'

    def test_with_other_channels_the_client_comes_back(self) -> None:
        for claims in ({}, {"channels": ["open:x"]}, {"channels": ["open:x", "open:y", "open:z"]}):
            conversation = self.with_channels("open:x", "open:y")
            assert conversation.closed(refresh(conversation, exp=START + 90, **claims)) == 3010

    def test_with_the_same_channels_in_another_order_or_form(self) -> None:
        for claims in ({"channels": ["open:y", "open:x"]}, {"subs": {"open:x": {}, "open:y": {"data": 1}}}):
            conversation = self.with_channels("open:x", "open:y")
            assert "refresh" in conversation.hears(refresh(conversation, exp=START + 90, **claims))

    def with_channels(self, *channels: str) -> Conversation:
        conversation = Conversation(ping_interval=0)
        command = {"id": 1, "connect": {"token": token(exp=START + 60, channels=channels)}}
        assert len(conversation.does(Connected, command).attach_requests) == len(channels)
        return conversation

    def test_with_an_expired_token(self) -> None:
        conversation = self.expiring()
        assert conversation.closed(refresh(conversation, exp=START)) == 3005

    @pytest.mark.parametrize("claims", [{"sub": "43"}, {"sub": ""}, {"channel": "news"}])
    def test_with_the_token_of_somebody_else(self, claims: dict[str, str]) -> None:
        conversation = self.expiring()
        assert conversation.closed(refresh(conversation, **claims)) == 3500

    def test_with_a_forged_token(self) -> None:
        assert self.expiring().closed({"id": 9, "refresh": {"token": "x"}}) == 3500

    def test_without_a_token(self) -> None:
        assert self.expiring().closed({"id": 9, "refresh": {}}) == 3501

    def test_that_was_not_asked_for(self) -> None:
        conversation = Conversation().connected()
        assert conversation.closed(refresh(conversation, exp=START + 60)) == 3501
