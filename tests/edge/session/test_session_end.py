"""How a session ends, and how one of its subscriptions does, by whichever side."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from proto import codes
from proto.events import Closed
from proto.replies import PublishResult
from services.edge.channels.subscription import AttachRequest
from services.edge.session.actions import Connect, Publish
from services.edge.session.effects import (
    Detach,
    Effect,
    Ended,
    Farewell,
    Flush,
    Record,
    Send,
)
from services.edge.session.outcomes import AttachedAll, Replied
from services.edge.session.server_commands import SendToClient
from tests.edge.conversation import (
    ATTACHED,
    START,
    Conversation,
    closed_by,
    connect,
    connected,
    said,
    started_or_none,
)

PUBLISH: dict[str, Any] = {"id": 2, "publish": {"channel": "open:x", "data": 1}}


def stored(conversation: Conversation, publish: Publish) -> list[Effect]:
    return conversation.completes(publish, Replied(PublishResult()))


class TestTheEnd:
    def test_at_once_where_nothing_is_in_progress(self) -> None:
        conversation = connected()
        assert closed_by(conversation.session.leave(codes.SHUTDOWN, START)) == codes.SHUTDOWN.code

    def test_after_the_reply_to_the_command_in_progress(self) -> None:
        conversation = connected()
        publish = conversation.does(Publish, PUBLISH)
        conversation.says(PUBLISH | {"id": 3})
        assert conversation.session.leave(codes.SHUTDOWN, START) == []
        effects = stored(conversation, publish)
        assert said(effects)["id"] == 2 and closed_by(effects) == codes.SHUTDOWN.code
        assert started_or_none(effects) is None

    def test_nothing_is_heard_or_said_afterwards(self) -> None:
        conversation = connected()
        publish = conversation.does(Publish, PUBLISH)
        conversation.session.close(codes.FORCE_DISCONNECT, START)
        assert conversation.session.closed
        assert (
            conversation.says(PUBLISH | {"id": 3}) == [] and conversation.server_command(SendToClient(Raw(b"1"))) == []
        )
        assert stored(conversation, publish) == [] and conversation.tick() == []
        assert conversation.session.close(codes.SHUTDOWN, START) == []
        assert conversation.session.ended(1006, "", START) == []

    def test_it_leaves_its_channels_after_what_was_published_before(self) -> None:
        conversation = connected()
        conversation.subscribed("news")
        effects = conversation.session.close(codes.FORCE_DISCONNECT, START)
        kinds = [type(effect) for effect in effects]
        assert kinds == [Flush, Farewell, Detach, Ended, Record]
        assert conversation.state.channels == {}

    def test_the_client_that_went_by_itself_is_told_nothing(self) -> None:
        conversation = connected()
        conversation.subscribed("news")
        effects = conversation.session.ended(1000, "bye", START + 5)
        assert [type(effect) for effect in effects] == [Detach, Ended, Record]
        (record,) = [effect for effect in effects if isinstance(effect, Record)]
        assert record.event == Closed(at=int(START + 5) * 1000, connection="c1", code=1000, reason="bye", by="client")

    def test_channels_attached_meanwhile_are_detached(self) -> None:
        conversation = connected()
        action = conversation.does(AttachRequest, {"id": 2, "subscribe": {"channel": "news"}})
        conversation.session.close(codes.FORCE_DISCONNECT, START)
        assert conversation.completes(action, ATTACHED) == [Detach(("news",))]

    def test_so_are_all_channels_of_a_connect(self) -> None:
        conversation = Conversation()
        action = conversation.does(Connect, connect(channels=["open:x", "open:y"]))
        conversation.session.close(codes.FORCE_DISCONNECT, START)
        attached = AttachedAll({"open:x": ATTACHED, "open:y": ATTACHED})
        assert conversation.completes(action, attached) == [Detach(("open:x", "open:y"))]


class TestEndOfASubscription:
    """By the server, which lost what the client relies on (2500), or by a backend's command (2000)."""

    def test_one_of_the_clients_own(self) -> None:
        conversation = connected()
        conversation.subscribed("log:x")
        effects = conversation.session.end_subscription("log:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE, START)
        assert said(effects)["push"]["unsubscribe"]["code"] == 2500
        assert [type(effect) for effect in effects] == [Flush, Detach, Record, Send]

    def test_one_of_the_servers_making_by_a_new_connection(self) -> None:
        conversation = Conversation().connected(channels=["log:x"])
        effects = conversation.session.end_subscription("log:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE, START)
        assert closed_by(effects) == 3010

    def test_while_it_connects(self) -> None:
        conversation = Conversation()
        conversation.does(Connect, connect(channels=["log:x"]))
        effects = conversation.session.end_subscription("log:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE, START)
        assert closed_by(effects) == 3010 and Detach(("log:x",)) in effects

    def test_where_it_never_was(self) -> None:
        assert connected().session.end_subscription("news", codes.UNSUBSCRIBED_BY_SERVER, START) == []
