"""How many commands a session handles at once: what comes behind waits for its next turn."""

from __future__ import annotations

from msgspec import Raw

from proto.commands import Command, UnsubscribeRequest
from proto.replies import PublishResult
from services.edge.session.actions import Publish
from services.edge.session.command_order import COMMANDS_PER_TURN
from services.edge.session.effects import AwaitTurn, Effect, PaceReading, Send
from services.edge.session.outcomes import Replied
from services.edge.session.server_commands import SendToClient
from tests.edge.conversation import Conversation


def unsubscribes(first: int, count: int) -> list[Command]:
    return [Command(id=first + number, unsubscribe=UnsubscribeRequest("x")) for number in range(count)]


def answered(effects: list[Effect]) -> list[int]:
    return [effect.reply.id for effect in effects if isinstance(effect, Send)]


def turns_of(effects: list[Effect]) -> int:
    return sum(isinstance(effect, AwaitTurn) for effect in effects)


def test_a_message_of_many_commands_takes_several_turns():
    talk = Conversation().connected()
    left = list(range(2, 2 + 3 * COMMANDS_PER_TURN + 1))
    effects = talk.session.commands(unsubscribes(2, len(left)), 1000, talk.now)
    assert PaceReading(True) in effects, "it is not read from meanwhile"
    while left:
        expected, left = left[:COMMANDS_PER_TURN], left[COMMANDS_PER_TURN:]
        assert answered(effects) == expected
        assert turns_of(effects) == bool(left) and talk.session.awaits_turn is bool(left)
        assert not left or PaceReading(False) not in effects
        if left:
            effects = talk.session.turn(talk.now)
    assert PaceReading(False) in effects


def test_as_many_as_a_turn_takes_need_no_other_turn():
    talk = Conversation().connected()
    for _ in range(3):
        effects = talk.session.commands(unsubscribes(2, COMMANDS_PER_TURN), 1000, talk.now)
        assert len(answered(effects)) == COMMANDS_PER_TURN and turns_of(effects) == 0


def test_commands_that_waited_behind_a_slow_one_do_not_come_all_at_once():
    talk = Conversation(insecure=True).connected()
    action = talk.does(Publish, {"id": 2, "publish": {"channel": "chat:x", "data": 1}})
    assert answered(talk.session.commands(unsubscribes(3, 100), 1000, talk.now)) == []
    effects = talk.completes(action, Replied(PublishResult()))
    assert len(answered(effects)) == 1 + COMMANDS_PER_TURN and turns_of(effects) == 1


def test_further_commands_and_those_of_backends_wait_behind():
    talk = Conversation().connected()
    talk.session.commands(unsubscribes(2, COMMANDS_PER_TURN + 1), 1000, talk.now)
    for effects in (
        talk.session.commands(unsubscribes(90, 1), 10, talk.now),
        talk.server_command(SendToClient(Raw(b"1"))),
    ):
        assert effects == [], "and the turn is not asked for again"
    effects = talk.session.turn(talk.now)
    assert answered(effects) == [2 + COMMANDS_PER_TURN, 90, 0]


def test_a_turn_after_the_end_does_nothing():
    talk = Conversation().connected()
    talk.session.commands(unsubscribes(2, 100), 1000, talk.now)
    talk.session.ended(1000, "", talk.now)
    assert not talk.session.awaits_turn and answered(talk.session.turn(talk.now)) == []
