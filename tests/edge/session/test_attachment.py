"""Being attached to a channel and detached from it: the effects, and their order."""

from __future__ import annotations

from msgspec import Raw

from proto.events import Opened, Subscribed, Unsubscribed
from proto.messages import Publication, StreamPosition
from proto.replies import SubscribeResult
from services.edge.channels.subscription import AttachRequest
from services.edge.session.actions import Connect
from services.edge.session.effects import (
    Announce,
    CatchUp,
    Detach,
    Effect,
    Flush,
    LogRefusal,
    Record,
    Reschedule,
    Send,
)
from services.edge.session.outcomes import Attached, AttachedAll
from services.edge.session.results import REPLY_BYTES
from tests.edge.conversation import ATTACHED, START, Conversation, connect, connected, said, token

AT = int(START * 1000)


def kinds(effects: list[Effect]) -> list[type]:
    return [type(effect) for effect in effects if not isinstance(effect, LogRefusal)]


def facts(effects: list[Effect]) -> list[object]:
    """The facts that the effects write to the session log."""
    return [effect.event for effect in effects if isinstance(effect, Record)]


def caught_up_from(effects: list[Effect]) -> dict[str, StreamPosition]:
    (effect,) = [effect for effect in effects if isinstance(effect, CatchUp)]
    return effect.positions


def subscribe(channel: str, **request: object) -> dict[str, object]:
    return {"id": 2, "subscribe": {"channel": channel, **request}}


class TestSubscribed:
    def test_the_reply_comes_first_then_others_hear_of_it(self) -> None:
        conversation = connected()
        action = conversation.does(AttachRequest, subscribe("seen:x"))
        effects = conversation.completes(action, ATTACHED)
        assert kinds(effects) == [Send, Record, Announce]
        assert said(effects) == {"id": 2, "subscribe": {}}
        assert effects[2] == Announce("seen:x", action.subscription)
        assert conversation.in_channel("seen:x") is action.subscription

    def test_the_log_of_sessions_has_it(self) -> None:
        conversation = connected()
        action = conversation.does(AttachRequest, subscribe("log:x", recover=True))
        assert conversation.state.channels == {}, "until it is attached"
        outcome = Attached(SubscribeResult(epoch="e", offset=7, recovered=True, was_recovering=True))
        fact = Subscribed(at=AT, connection="c1", channel="log:x", recovered=True, offset=7)
        assert facts(conversation.completes(action, outcome)) == [fact]

    def test_where_nothing_was_to_be_recovered_the_fact_says_nothing_of_it(self) -> None:
        conversation = connected()
        action = conversation.does(AttachRequest, subscribe("log:x"))
        (fact,) = facts(conversation.completes(action, Attached(SubscribeResult(epoch="e", offset=7))))
        assert isinstance(fact, Subscribed) and fact.recovered is None

    def test_an_expiring_subscription_is_seen_to_in_time(self) -> None:
        conversation = connected(ping_interval=0)
        expiring = token(channel="closed:x", exp=START + 60)
        action = conversation.does(AttachRequest, subscribe("closed:x", token=expiring))
        assert kinds(conversation.completes(action, ATTACHED)) == [Send, Record, Reschedule]

    def test_publications_that_do_not_fit_into_the_reply_follow_it(self) -> None:
        conversation = connected()
        action = conversation.does(AttachRequest, subscribe("log:x"))
        missed = [Publication(Raw(b'"%s"' % (b"x" * (REPLY_BYTES // 2))), offset=offset) for offset in (1, 2, 3)]
        effects = conversation.completes(action, Attached(SubscribeResult(publications=missed, epoch="e")))
        assert [each["offset"] for each in said(effects)["subscribe"]["publications"]] == [1]
        assert caught_up_from(effects) == {"log:x": StreamPosition(1, "e")}
        assert conversation.says({"id": 3, "unsubscribe": {"channel": "log:x"}}) == [], "that would be too soon"
        assert said(conversation.session.caught_up(START))["id"] == 3

    def test_while_the_client_takes_nothing_it_goes_on_from_its_position_in_the_log(self) -> None:
        conversation = connected()
        action = conversation.does(AttachRequest, subscribe("log:x"))
        conversation.session.stalled(START)
        effects = conversation.completes(action, Attached(SubscribeResult(epoch="e"), StreamPosition(7, "e")))
        assert caught_up_from(effects) == {"log:x": StreamPosition(7, "e")}
        assert kinds(effects).index(CatchUp) > kinds(effects).index(Send)


class TestConnected:
    def test_without_channels_the_session_begins_at_once(self) -> None:
        effects = Conversation().says(connect())
        assert facts(effects) == [Opened(at=AT, connection="c1", user="42", encoding="json")]
        assert "connect" in said(effects) and Reschedule() in effects

    def test_its_channels_are_part_of_the_reply_and_facts_of_their_own(self) -> None:
        conversation = Conversation()
        action = conversation.does(Connect, connect(channels=["log:x", "seen:y"]))
        assert facts(conversation.effects) == [], "it has not begun yet"
        result = SubscribeResult(recoverable=True, positioned=True, epoch="e", offset=7)
        attached = AttachedAll({"log:x": Attached(result, StreamPosition(7, "e")), "seen:y": ATTACHED})
        effects = conversation.completes(action, attached)
        assert said(effects)["connect"]["subs"] == {
            "log:x": {"recoverable": True, "positioned": True, "epoch": "e", "offset": 7},
            "seen:y": {},
        }
        assert [type(fact) for fact in facts(effects)] == [Opened, Subscribed, Subscribed]
        assert caught_up_from(effects) == {"log:x": StreamPosition(7, "e")}, "pushes were held back"
        assert kinds(effects)[:4] == [Record, Send, Reschedule, CatchUp]
        assert [effect.channel for effect in effects if isinstance(effect, Announce)] == ["seen:y"]


class TestUnsubscribed:
    def test_earlier_publications_come_before_the_reply(self) -> None:
        conversation = connected()
        conversation.subscribed("news")
        effects = conversation.says({"id": 3, "unsubscribe": {"channel": "news"}})
        assert effects[:2] == [Flush(("news",)), Detach(("news",))]
        assert kinds(effects) == [Flush, Detach, Record, Send]
        assert facts(effects) == [Unsubscribed(at=AT, connection="c1", channel="news", by="client")]
