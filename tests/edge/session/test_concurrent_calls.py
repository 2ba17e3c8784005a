"""RPCs of one client run beside each other and beside its other commands, up to `client.concurrency` of them."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from proto import codes
from proto.replies import PublishResult, RPCResult
from services.edge.channels.subscription import AttachRequest
from services.edge.hook_settings import COMMAND_DEADLINE_S
from services.edge.session.actions import Action, CallBackend, Publish
from services.edge.session.command_queue import QUEUED_BYTES_LIMIT
from services.edge.session.effects import Effect, PaceReading, Send, SendPing, Start
from services.edge.session.outcomes import Failed, Replied
from services.edge.session.server_commands import SendToClient
from tests.edge.conversation import ATTACHED, START, Conversation, closed_by, connected, error_in, started_or_none


def rpc(number: int, data: object = None) -> dict[str, Any]:
    return {"id": number, "rpc": {"method": "slow", "data": data}}


def pub(number: int) -> dict[str, Any]:
    return {"id": number, "publish": {"channel": "open:x", "data": 1}}


def answer(conversation: Conversation, call: Action) -> list[Effect]:
    return conversation.completes(call, Replied(RPCResult(Raw(b"1"))))


def replies(effects: list[Effect]) -> list[int]:
    """The ids of the replies that the effects send."""
    return [effect.reply.id for effect in effects if isinstance(effect, Send)]


def started_ids(effects: list[Effect]) -> list[int]:
    """The ids of the commands whose actions the effects start."""
    return [effect.action.command_id for effect in effects if isinstance(effect, Start)]


class TestBeside:
    def test_rpcs_start_at_once_and_are_answered_in_any_order(self) -> None:
        conversation = connected()
        calls = [conversation.does(CallBackend, rpc(number)) for number in (2, 3, 4)]
        assert replies(answer(conversation, calls[2])) == [4]
        assert error_in(conversation.completes(calls[0], Failed(codes.NOT_AVAILABLE))) == 108
        assert replies(answer(conversation, calls[1])) == [3]

    def test_other_commands_do_not_wait_for_them(self) -> None:
        conversation = connected()
        call = conversation.does(CallBackend, rpc(2))
        attach = conversation.does(AttachRequest, {"id": 3, "subscribe": {"channel": "news"}})
        assert replies(conversation.completes(attach, ATTACHED)) == [3]
        assert replies(conversation.says({"id": 4, "unsubscribe": {"channel": "news"}})) == [4]
        assert replies(conversation.server_command(SendToClient(Raw(b"1")))) == [0]
        assert replies(answer(conversation, call)) == [2]

    def test_they_wait_for_the_command_before_them(self) -> None:
        """A backend may rely on what the client published before it called."""
        conversation = connected()
        publish = conversation.does(Publish, pub(2))
        assert conversation.says(rpc(3)) == [] and conversation.says(pub(4)) == []
        effects = conversation.completes(publish, Replied(PublishResult()))
        assert replies(effects) == [2] and started_ids(effects) == [3, 4]

    def test_each_has_a_deadline_of_its_own(self) -> None:
        conversation = connected()
        call = conversation.does(CallBackend, rpc(2))
        conversation.now = START + 3
        assert [effect.deadline for effect in conversation.says(rpc(3)) if isinstance(effect, Start)] == [
            START + 3 + COMMAND_DEADLINE_S
        ]
        publish = conversation.does(Publish, pub(4))
        assert Start(publish, START + 3 + COMMAND_DEADLINE_S) in conversation.effects
        assert replies(answer(conversation, call)) == [2]

    def test_the_rpc_that_publishes_keeps_its_place_among_publishes(self) -> None:
        conversation = connected()
        data = {"channel": "open:x", "idempotency_key": "k", "data": 1}
        first = conversation.does(Publish, {"id": 2, "rpc": {"method": "fairlead.publish", "data": data}})
        assert conversation.says(pub(3)) == []
        assert started_ids(conversation.completes(first, Replied(RPCResult(Raw(b"1"))))) == [3]

    def test_pongs_are_heard_meanwhile(self) -> None:
        conversation = connected()
        conversation.does(CallBackend, rpc(2))
        conversation.now = START + 25
        assert conversation.tick() == [SendPing()]
        assert conversation.says({}) == []
        conversation.now = START + 34
        assert conversation.tick() == []


class TestAtTheLimit:
    def busy(self, **section: Any) -> tuple[Conversation, list[CallBackend]]:
        conversation = connected(**({"concurrency": 2} | section))
        return conversation, [conversation.does(CallBackend, rpc(number)) for number in (2, 3)]

    def test_further_ones_wait_in_order_and_nothing_else_does(self) -> None:
        conversation, calls = self.busy()
        for number in (4, 5, 6):
            assert conversation.says(rpc(number)) == []
        assert started_ids(conversation.says(pub(7))) == [7]
        effects = answer(conversation, calls[1])
        assert replies(effects) == [3] and started_ids(effects) == [4], "also beside the publish in progress"
        assert started_ids(answer(conversation, calls[0])) == [5]

    def test_one_at_a_time_where_the_setting_says_so(self) -> None:
        conversation = connected(concurrency=1)
        call = conversation.does(CallBackend, rpc(2))
        assert conversation.says(rpc(3)) == []
        assert started_ids(answer(conversation, call)) == [3]

    def test_the_default_is_enough_for_slow_backends(self) -> None:
        conversation = connected()
        for number in range(2, 18):
            conversation.does(CallBackend, rpc(number))
        assert conversation.says(rpc(18)) == []

    def test_those_that_wait_count_as_queued(self) -> None:
        conversation, calls = self.busy(queued_commands_limit=4)
        assert conversation.says(rpc(4)) == [] and conversation.says(rpc(5)) == []
        assert conversation.says(rpc(6)) == [PaceReading(True)]
        assert PaceReading(False) in answer(conversation, calls[0])
        for number in (7, 8):
            conversation.says(rpc(number))
        assert conversation.closed(rpc(9)) == 3013

    def test_so_do_their_bytes(self) -> None:
        conversation, calls = self.busy()
        text = "x" * (QUEUED_BYTES_LIMIT // 2)
        assert conversation.says(rpc(4, text)) == []
        assert conversation.says(rpc(5, text)) == [PaceReading(True)]
        assert PaceReading(False) in answer(conversation, calls[0])

    def test_while_the_client_takes_nothing_none_starts(self) -> None:
        conversation, calls = self.busy()
        assert conversation.says(rpc(4)) == []
        conversation.session.stalled(START)
        assert started_ids(answer(conversation, calls[0])) == []
        assert started_ids(conversation.session.caught_up(START)) == [4]


class TestTheEnd:
    def test_a_client_leaves_once_its_rpcs_are_answered(self) -> None:
        conversation = connected(concurrency=2)
        calls = [conversation.does(CallBackend, rpc(number)) for number in (2, 3)]
        publish = conversation.does(Publish, pub(4))
        assert conversation.says(rpc(5)) == [] and conversation.says(pub(6)) == []
        assert conversation.session.leave(codes.GOING_AWAY, START) == []
        assert conversation.completes(publish, Replied(PublishResult())) != [] and not conversation.session.closed
        assert conversation.says(pub(7)) == [], "nothing new is begun"
        assert replies(answer(conversation, calls[1])) == [3]
        effects = answer(conversation, calls[0])
        assert replies(effects) == [2] and closed_by(effects) == 1001
        assert started_or_none(effects) is None

    def test_an_answer_after_the_end_is_dropped(self) -> None:
        conversation = connected()
        call = conversation.does(CallBackend, rpc(2))
        conversation.session.close(codes.FORCE_DISCONNECT, START)
        assert answer(conversation, call) == []
