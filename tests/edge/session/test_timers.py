"""The effects of time on a client: stale, pings, expiry and refresh (reference 1.3, 1.4 and 3.7)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec import Raw

from services.edge.channels.subscription import AttachRequest
from services.edge.framing import formats
from services.edge.grants import Grant
from services.edge.session.actions import Publish
from services.edge.session.effects import Effect, SendPing
from services.edge.session.server_commands import RefreshClient, SubscribeClient
from tests.edge.conversation import START, Conversation, closed_by, said, started, token

EARLY = "c12138"
"""The id of a client whose first ping comes 12.5 s after its connect. That is the soonest; others come later."""


def at(conversation: Conversation, seconds: float) -> list[Effect]:
    """The effects that are due that many seconds after the start."""
    conversation.now = START + seconds
    return conversation.tick()


def expired(effects: list[Effect]) -> str:
    """The channel of the unsubscribe push."""
    push = said(effects)["push"]
    assert push["unsubscribe"]["code"] == 2501
    return str(push["channel"])


class TestStale:
    def test_a_connection_without_a_connect_ends(self) -> None:
        conversation = Conversation()
        assert conversation.session.deadline == START + 10
        assert at(conversation, 9.9) == []
        assert closed_by(at(conversation, 10)) == 3502

    def test_a_refused_one_too(self) -> None:
        conversation = Conversation()
        assert conversation.error({"id": 1, "connect": {"token": token(exp=1)}}) == 109
        assert conversation.session.deadline == START + 10
        assert closed_by(at(conversation, 10)) == 3502

    def test_a_connected_one_does_not(self) -> None:
        assert at(Conversation(ping_interval=0).connected(), 1e6) == []


class TestPing:
    @pytest.mark.parametrize(("client_id", "first"), [("c12138", 12.5), ("c13453", 18.75), ("c1158", 24.9875)])
    def test_the_first_comes_in_the_second_half_of_an_interval(self, client_id: str, first: float) -> None:
        """When, is a matter of the client id, which is random."""
        conversation = Conversation(client_id).connected()
        assert conversation.session.deadline == pytest.approx(START + first, rel=0, abs=0.001)
        assert at(conversation, first - 0.01) == []
        assert at(conversation, first + 0.01) == [SendPing()]

    def test_further_ones_follow_the_pong_by_an_interval(self) -> None:
        conversation = Conversation(EARLY).connected()
        assert at(conversation, 13) == [SendPing()]
        conversation.now = START + 14
        assert conversation.says({}) == []
        assert conversation.session.deadline == START + 14 + 25
        assert at(conversation, 38.9) == []
        assert at(conversation, 39) == [SendPing()]

    def test_without_a_pong_the_connection_ends(self) -> None:
        conversation = Conversation(EARLY).connected()
        assert at(conversation, 13) == [SendPing()]
        assert conversation.session.deadline == START + 21
        assert at(conversation, 20.9) == []
        assert closed_by(at(conversation, 21)) == 3012

    def test_other_commands_are_no_pong(self) -> None:
        conversation = Conversation(EARLY).connected()
        assert at(conversation, 13) == [SendPing()]
        conversation.error({"id": 2, "history": {"channel": "news"}})
        assert closed_by(at(conversation, 21)) == 3012

    def test_a_client_that_cannot_take_our_ping_is_excused(self) -> None:
        conversation = Conversation(EARLY).connected()
        assert at(conversation, 13) == [SendPing()]
        conversation.session.stalled(START + 20)
        assert at(conversation, 20.5) == []
        conversation.session.caught_up(START + 20.5)
        assert at(conversation, 21) == []
        assert closed_by(at(conversation, 28.5)) == 3012

    def test_so_is_one_whose_pong_waits_behind_a_command_in_progress(self) -> None:
        conversation = Conversation(EARLY).connected()
        assert at(conversation, 13) == [SendPing()]
        publish = conversation.does(Publish, {"id": 2, "publish": {"channel": "open:x", "data": 1}})
        assert conversation.says({}) == []
        assert at(conversation, 21) == []
        conversation.fails(publish)
        assert conversation.session.deadline == START + 21 + 25, "it was a pong"

    def test_an_excuse_puts_off_no_ping(self) -> None:
        conversation = Conversation(EARLY).connected()
        conversation.session.stalled(START + 12)
        assert at(conversation, 12) == []
        conversation.session.caught_up(START + 12)
        assert at(conversation, 13) == [SendPing()]

    def test_a_pong_that_nobody_asked_for_ends_the_connection(self) -> None:
        assert Conversation().connected().closed({}) == 3501

    def test_a_second_pong_too(self) -> None:
        conversation = Conversation(EARLY).connected()
        assert at(conversation, 13) == [SendPing()]
        assert conversation.says({}) == []
        assert conversation.closed({}) == 3501

    def test_pings_can_be_switched_off(self) -> None:
        conversation = Conversation(ping_interval=0).connected()
        assert conversation.session.deadline == math.inf
        assert conversation.closed({}) == 3501

    def test_a_client_that_wants_websocket_pings_gets_those(self) -> None:
        conversation = Conversation(EARLY, native_pings=True)
        result = conversation.hears({"id": 1, "connect": {"token": token()}})["connect"]
        assert "ping" not in result and "pong" not in result
        conversation.session.native_pong(START + 1)  # it answers no ping, which is allowed there
        assert at(conversation, 13) == [SendPing(native=True)]
        conversation.session.native_pong(START + 14)
        assert at(conversation, 21) == []
        assert at(conversation, 39) == [SendPing(native=True)]
        assert closed_by(at(conversation, 47)) == 3012

    def test_a_client_that_cannot_answer_is_pinged_and_not_waited_for(self) -> None:
        conversation = Conversation(EARLY, format=formats.UNI_SSE).connected()
        for seconds in (13, 38, 63):
            assert at(conversation, seconds - 0.6) == []
            assert at(conversation, seconds) == [SendPing()]


class TestExpiry:
    def test_a_grace_follows_the_ttl(self) -> None:
        conversation = Conversation(ping_interval=0).connected(exp=START + 60)
        assert conversation.session.deadline == START + 85
        assert at(conversation, 84.9) == []
        assert closed_by(at(conversation, 85)) == 3005

    def test_it_comes_before_a_missing_pong(self) -> None:
        conversation = Conversation(EARLY, expired_close_delay=0).connected(exp=START + 14)
        assert conversation.session.deadline < START + 13
        assert at(conversation, 13) == [SendPing()]
        assert conversation.session.deadline == START + 14
        assert closed_by(at(conversation, 30)) == 3005

    def test_expire_at_wins_over_exp(self) -> None:
        conversation = Conversation(ping_interval=0).connected(exp=START + 60, expire_at=START + 600)
        assert conversation.session.deadline == START + 625

    def test_expire_at_zero_is_never(self) -> None:
        assert Conversation(ping_interval=0).connected(exp=START + 60, expire_at=0).session.deadline == math.inf

    def test_when_a_backend_says_so(self) -> None:
        conversation = Conversation(ping_interval=0).connected()
        conversation.server_command(RefreshClient(int(START) + 60, Raw(b"")))
        assert conversation.session.deadline == START + 85
        conversation.server_command(RefreshClient(0, Raw(b"")))
        assert at(conversation, 85) == []
        conversation.server_command(RefreshClient(int(START) + 120, Raw(b"")))
        assert closed_by(at(conversation, 145)) == 3005


class TestSubscriptionExpiry:
    """A grace period follows the ttl. SDKs resubscribe after the end of a client-side one, and reconnect otherwise."""

    def subscribed(self, **section: Any) -> Conversation:
        conversation = Conversation(ping_interval=0, **section).connected()
        conversation.subscribed("closed:x", token=token(channel="closed:x", exp=START + 60))
        conversation.subscribed("closed:y", token=token(channel="closed:y", exp=START + 90))
        return conversation

    def test_one_of_the_clients_own(self) -> None:
        conversation = self.subscribed()
        assert conversation.session.deadline == START + 85
        assert at(conversation, 84.9) == []
        assert expired(at(conversation, 85)) == "closed:x"
        assert list(conversation.state.channels) == ["closed:y"]
        assert conversation.session.deadline == START + 115
        assert expired(at(conversation, 115)) == "closed:y"

    def test_the_grace_is_a_setting(self) -> None:
        assert expired(at(self.subscribed(expired_sub_close_delay=5), 65)) == "closed:x"

    def test_one_that_was_refreshed(self) -> None:
        conversation = self.subscribed()
        refreshed = token(channel="closed:x", exp=START + 300)
        conversation.hears({"id": 3, "sub_refresh": {"channel": "closed:x", "token": refreshed}})
        assert at(conversation, 85) == []
        assert conversation.session.deadline == START + 115

    def test_one_of_the_servers_making(self) -> None:
        conversation = Conversation(ping_interval=0).connected()
        action = started(conversation.server_command(SubscribeClient("closed:x", Grant(expires_at=int(START) + 60))))
        assert isinstance(action, AttachRequest)
        conversation.entered(action)
        assert at(conversation, 84.9) == []
        assert closed_by(at(conversation, 85)) == 3006
