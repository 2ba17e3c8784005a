"""The conversation as a whole: commands that wait for others."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from proto import codes
from proto.commands import Command, PublishRequest
from proto.messages import StreamPosition
from proto.replies import PublishResult, SubscribeResult
from services.edge.backend import hook_results
from services.edge.framing import formats
from services.edge.hook_settings import COMMAND_DEADLINE_S
from services.edge.session.actions import Action, Connect, Publish
from services.edge.session.command_queue import QUEUED_BYTES_CEILING, QUEUED_BYTES_LIMIT, SERVER_COMMANDS_LIMIT
from services.edge.session.effects import (
    CatchUp,
    Dismiss,
    Effect,
    HoldPushes,
    PaceReading,
    Record,
    ReleasePushes,
    Send,
    Start,
)
from services.edge.session.outcomes import Attached, AttachedAll, Failed, Replied
from services.edge.session.server_commands import SendToClient
from services.edge.session.state import Phase
from tests.edge.conversation import (
    START,
    Conversation,
    closed_by,
    connect,
    connected,
    error_in,
    logged,
    started,
)


def pub(number: int) -> dict[str, Any]:
    return {"id": number, "publish": {"channel": "open:x", "data": 1}}


def stored(conversation: Conversation, publish: Action) -> list[Effect]:
    return conversation.completes(publish, Replied(PublishResult()))


def replies(effects: list[Effect]) -> list[int]:
    """The ids of the replies that the effects send."""
    return [effect.reply.id for effect in effects if isinstance(effect, Send)]


class TestInLine:
    """One command at a time, in the order in which they came."""

    def test_commands_wait_for_the_one_in_progress(self) -> None:
        conversation = connected()
        first = conversation.does(Publish, pub(2))
        assert conversation.says(pub(3)) == []
        assert conversation.says({"id": 4, "unsubscribe": {"channel": "news"}}) == []
        effects = stored(conversation, first)
        second = started(effects)
        assert replies(effects) == [2] and second.command_id == 3
        assert replies(stored(conversation, second)) == [3, 4]

    def test_those_of_backends_stand_in_the_same_line(self) -> None:
        conversation = connected()
        first = conversation.does(Publish, pub(2))
        assert conversation.server_command(SendToClient(Raw(b"1"))) == []
        assert conversation.says({"id": 3, "unsubscribe": {"channel": "news"}}) == []
        assert replies(stored(conversation, first)) == [2, 0, 3]

    def test_actions_of_one_command_share_its_deadline(self) -> None:
        conversation = connected()
        asked, _ = conversation.asks({"id": 2, "publish": {"channel": "asked:x", "data": 1}})
        assert Start(asked, START + COMMAND_DEADLINE_S) in conversation.effects
        conversation.now = START + 1
        effects = conversation.decided(asked, hook_results.Accepted())
        publish = started(effects)
        assert Start(publish, START + COMMAND_DEADLINE_S) in effects
        conversation.fails(publish)
        conversation.does(Publish, pub(3))
        assert isinstance(conversation.effects[0], Start)
        assert conversation.effects[0].deadline == START + 1 + COMMAND_DEADLINE_S

    def test_a_command_that_failed_holds_up_no_other(self) -> None:
        conversation = connected()
        first = conversation.does(Publish, pub(2))
        conversation.says(pub(3))
        effects = conversation.completes(first, Failed(codes.LIMIT_EXCEEDED, "too large"))
        assert error_in(effects) == 106 and "too large" in logged(effects)
        assert started(effects).command_id == 3


class TestMuchWaits:
    def busy(self, **section: Any) -> tuple[Conversation, Publish]:
        conversation = connected(**section)
        return conversation, conversation.does(Publish, pub(2))

    def test_too_many_commands_end_the_connection(self) -> None:
        conversation, _ = self.busy(queued_commands_limit=3)
        for number in range(3, 6):
            conversation.says(pub(number))
        assert conversation.closed(pub(6)) == 3013

    def test_a_client_with_many_waiting_is_not_read_from_until_they_are_fewer(self) -> None:
        conversation, call = self.busy(queued_commands_limit=4)
        assert conversation.says(pub(3)) == [] and conversation.says(pub(4)) == []
        assert conversation.says(pub(5)) == [PaceReading(True)]
        assert conversation.says(pub(6)) == [], "once is enough"
        paced: list[list[Effect]] = []
        action: Action = call
        for _ in range(2):
            effects = stored(conversation, action)
            paced.append([effect for effect in effects if isinstance(effect, PaceReading)])
            action = started(effects)
        assert paced == [[], [PaceReading(False)]]

    def test_so_it_is_with_many_bytes(self) -> None:
        conversation, call = self.busy()
        assert conversation.takes(Command(id=3, publish=PublishRequest("open:x", Raw(b"1"))), QUEUED_BYTES_LIMIT) == []
        assert conversation.takes(Command(id=4, publish=PublishRequest("open:x", Raw(b"1"))), 1) == [PaceReading(True)]
        assert PaceReading(False) in stored(conversation, call)

    def test_too_many_bytes_end_the_connection(self) -> None:
        conversation, _ = self.busy()
        assert closed_by(conversation.takes(Command(id=3, publish=PublishRequest()), QUEUED_BYTES_CEILING + 1)) == 3013

    def test_too_many_commands_of_backends_too(self) -> None:
        conversation, _ = self.busy()
        for _ in range(SERVER_COMMANDS_LIMIT):
            assert conversation.server_command(SendToClient(Raw(b"1"))) == []
        assert closed_by(conversation.server_command(SendToClient(Raw(b"1")))) == 3008


class TestBlocked:
    """The client takes nothing of what is written to it, or has to catch up first."""

    def test_its_commands_wait_and_it_is_not_read_from(self) -> None:
        conversation = connected()
        assert PaceReading(True) in conversation.session.stalled(START)
        assert conversation.says(pub(2)) == []
        effects = conversation.session.caught_up(START)
        assert started(effects).command_id == 2 and PaceReading(False) in effects

    def test_the_reply_to_connect_comes_before_anything_of_its_channels(self) -> None:
        conversation = Conversation()
        effects = conversation.says(connect(channels=["log:x"]))
        assert HoldPushes() in effects
        position = StreamPosition(7, "e")
        result = SubscribeResult(recoverable=True, epoch="e", offset=6)
        effects = conversation.completes(started(effects), AttachedAll({"log:x": Attached(result, position)}))
        assert replies(effects) == [1]
        assert effects.index(CatchUp({"log:x": position})) > [isinstance(effect, Send) for effect in effects].index(
            True
        )
        assert conversation.says(pub(2)) == []
        assert started(conversation.session.caught_up(START)).command_id == 2


class TestConnectThatFails:
    """The client was admitted; then one of its channels could not be had."""

    def failed(self, **more: Any) -> tuple[Conversation, list[Effect]]:
        conversation = Conversation(**more)
        action = conversation.does(Connect, connect(channels=["log:x"]))
        assert conversation.server_command(SendToClient(Raw(b"1"))) == []
        return conversation, conversation.completes(action, Failed(codes.INTERNAL))

    def test_it_is_told_and_does_not_count_any_more(self) -> None:
        conversation, effects = self.failed()
        assert error_in(effects) == 100
        assert Dismiss("42") in effects and ReleasePushes() in effects
        assert conversation.session.phase is Phase.REFUSED and conversation.says(pub(2)) == []

    def test_a_unidirectional_client_is_closed(self) -> None:
        _, effects = self.failed(format=formats.UNI_SSE)
        assert closed_by(effects) == 3004

    def test_its_session_is_not_in_the_log(self) -> None:
        conversation, _ = self.failed()
        assert not [each for each in conversation.session.close(codes.SHUTDOWN, START) if isinstance(each, Record)]
