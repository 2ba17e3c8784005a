"""Two clocks: expiry, `nbf` and facts follow the wall clock of the moment, timers the edge's own time, which is steady.

An edge may start with a wrong clock that is put right later, and a machine may be suspended: its wall clock jumps then.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from services.edge.backend import hook_results
from services.edge.channels.subscription import AttachRequest
from services.edge.grants import Grant
from services.edge.hook_settings import COMMAND_DEADLINE_S
from services.edge.session.actions import AskHook, Publish
from services.edge.session.effects import Effect, Record, Send, SendPing, Start
from services.edge.session.server_commands import RefreshClient, SubscribeClient
from tests.edge.conversation import (
    START,
    Conversation,
    closed_by,
    connect,
    connected,
    error_in,
    logged,
    said,
    started,
    token,
)

HOUR = 3600


def recorded(effects: list[Effect]) -> list[int]:
    """The times of the facts that the effects record."""
    return [effect.event.at for effect in effects if isinstance(effect, Record)]


class TestTheWallClockOfTheMoment:
    @pytest.mark.parametrize("ahead", [HOUR, -HOUR])
    def test_decides_about_tokens_of_connections(self, ahead: int) -> None:
        for claims, code in (({"exp": START + ahead + 1}, 0), ({"exp": START + ahead - 1}, 109)):
            conversation = Conversation()
            conversation.ahead = ahead
            assert conversation.hears(connect(**claims)).get("error", {}).get("code", 0) == code
        conversation = Conversation()
        conversation.ahead = ahead
        assert conversation.error(connect(nbf=START + ahead + 1)) == 109
        assert conversation.says(connect(nbf=START + ahead)) == []  # its first connect was refused

    @pytest.mark.parametrize("ahead", [HOUR, -HOUR])
    def test_decides_about_tokens_of_subscriptions(self, ahead: int) -> None:
        conversation = connected()
        conversation.ahead = ahead
        expired = token(channel="closed:x", exp=START + ahead - 1)
        assert conversation.error({"id": 2, "subscribe": {"channel": "closed:x", "token": expired}}) == 109
        action = conversation.subscribed("closed:x", token=token(channel="closed:x", exp=START + ahead + 60))
        assert action.ttl == 60
        for claims, kind in (({"exp": START + ahead + 90}, "sub_refresh"), ({"exp": START + ahead - 1}, "error")):
            command = {"channel": "closed:x", "token": token(channel="closed:x", **claims)}
            effects = conversation.says({"id": 3, "sub_refresh": command})
            *_, reply = [effect.reply for effect in effects if isinstance(effect, Send)]
            assert getattr(reply, kind) is not None

    @pytest.mark.parametrize("ahead", [HOUR, -HOUR])
    def test_decides_about_refreshes(self, ahead: int) -> None:
        conversation = connected(ping_interval=0)
        conversation.ahead = ahead
        reply = conversation.hears({"id": 2, "refresh": {"token": token(exp=START + ahead + 60)}})
        assert reply["refresh"]["ttl"] == 60
        assert conversation.closed({"id": 3, "refresh": {"token": token(exp=START + ahead - 1)}}) == 3005

    def test_decides_about_what_hooks_and_backends_grant(self) -> None:
        conversation = Conversation(connect_hook=True)
        conversation.ahead = HOUR
        asked, _ = conversation.asks({"id": 1, "connect": {}})
        assert error_in(conversation.decided(asked, hook_results.Admitted("42", int(START) + 60))) == 110
        conversation = connected()
        conversation.ahead = HOUR
        assert "expired" in logged(conversation.server_command(SubscribeClient("open:x", Grant(expires_at=int(START)))))
        asked, _ = conversation.asks({"id": 2, "subscribe": {"channel": "asked:x"}})
        assert error_in(conversation.decided(asked, Grant(expires_at=int(START) + 60))) == 110
        command = RefreshClient(int(START) + HOUR + 60, Raw(b""))
        assert said(conversation.server_command(command))["push"]["refresh"]["ttl"] == 60

    def test_ends_connections_and_subscriptions(self) -> None:
        conversation = Conversation(ping_interval=0).connected(exp=START + 600)
        conversation.subscribed("closed:x", token=token(channel="closed:x", exp=START + 300))
        conversation.now = START + 1
        conversation.ahead = 400
        assert conversation.session.deadline == START + 300 + 25 - 400
        assert said(conversation.tick())["push"]["unsubscribe"]["code"] == 2501
        conversation.ahead = HOUR
        assert closed_by(conversation.tick()) == 3005

    def test_that_was_ahead_ended_nothing_too_early(self) -> None:
        conversation = Conversation(ping_interval=0)
        conversation.ahead = HOUR  # the edge started with a wrong clock
        conversation.connected(exp=START + HOUR + 60)
        conversation.ahead = 0
        assert conversation.session.deadline == START + HOUR + 60 + 25
        conversation.now = START + 90
        assert conversation.tick() == []

    def test_decides_when_the_refresh_hook_is_asked(self) -> None:
        conversation = Conversation(ping_interval=0, refresh_hook=True).connected(exp=START + 600)
        conversation.ahead = 600
        assert isinstance(started(conversation.tick()), AskHook)
        assert conversation.session.deadline == START + 5, "again, if there is no answer"

    def test_is_what_facts_hold(self) -> None:
        conversation = Conversation()
        conversation.ahead = HOUR
        effects = conversation.says(connect())
        assert recorded(effects) == [int(START + HOUR) * 1000]
        conversation.ahead = 60
        attach = conversation.does(AttachRequest, {"id": 2, "subscribe": {"channel": "news"}})
        conversation.entered(attach)
        assert recorded(conversation.effects) == [int(START + 60) * 1000]
        assert recorded(conversation.session.ended(1000, "", START + 5)) == [int(START + 65) * 1000]


class TestTheSteadyTime:
    """Whatever the wall clock does meanwhile."""

    @pytest.mark.parametrize("ahead", [HOUR, -HOUR])
    def test_pings_and_pongs(self, ahead: int) -> None:
        conversation = connected()
        deadline = conversation.session.deadline
        conversation.ahead = ahead
        assert conversation.session.deadline == deadline
        assert conversation.tick() == []
        conversation.now = START + 25
        assert conversation.tick() == [SendPing()]
        conversation.ahead = 0
        assert conversation.tick() == [] and conversation.session.deadline == START + 25 + 8

    @pytest.mark.parametrize("ahead", [HOUR, -HOUR])
    def test_the_time_to_connect(self, ahead: int) -> None:
        conversation = Conversation()
        conversation.ahead = ahead
        assert conversation.session.deadline == START + 10 and conversation.tick() == []

    @pytest.mark.parametrize("ahead", [HOUR, -HOUR])
    def test_deadlines_of_commands(self, ahead: int) -> None:
        conversation = connected()
        conversation.ahead = ahead
        command: dict[str, Any] = {"id": 2, "publish": {"channel": "open:x", "data": 1}}
        publish = conversation.does(Publish, command)
        assert Start(publish, START + COMMAND_DEADLINE_S) in conversation.effects
