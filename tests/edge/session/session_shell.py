"""A model of the shell: it carries out a session's effects, and checks each as it goes by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proto.events import SessionEvent
from proto.replies import Reply, SubscribeResult
from services.chassis.process.settings import Duration
from services.edge.channels.subscription import AttachRequest
from services.edge.client_settings import ClientSection
from services.edge.framing.formats import WEBSOCKET_JSON
from services.edge.hook_settings import COMMAND_DEADLINE_S
from services.edge.session.actions import Action, AskHook, CallBackend, Connect
from services.edge.session.effects import (
    Admit,
    Announce,
    AwaitTurn,
    CatchUp,
    Detach,
    Dismiss,
    Effect,
    Ended,
    Farewell,
    Flush,
    HoldPushes,
    PaceReading,
    Record,
    ReleasePushes,
    Send,
    SendPing,
    Start,
)
from services.edge.session.outcomes import (
    Attached,
    AttachedAll,
    Failed,
    Outcome,
)
from services.edge.session.policy import CurrentPolicy, Policy
from services.edge.session.session import Session
from services.edge.session.state import SessionState
from services.edge.tokens.configured_keys import configured_keys
from services.edge.tokens.tokens import TokenVerifier
from tests.edge.conversation import START
from tests.edge.signers import SECRET
from tests.support.namespaces import NAMESPACES

CHANNELS = ("open:a", "open:b", "seen:c", "log:d", "asked:e", "closed:f")
QUEUE_LIMIT = 12
CONCURRENCY = 2

OPTIONS = ClientSection(
    token_hmac_secret_key=SECRET,
    token_jwks_public_endpoint="https://127.0.0.1/keys",
    connect_hook=True,
    refresh_hook=True,
    queued_commands_limit=QUEUE_LIMIT,
    concurrency=CONCURRENCY,
    channel_limit=4,
    ping_interval=Duration(10),
    pong_timeout=Duration(4),
    expired_close_delay=Duration(20),
)

POLICY = Policy(OPTIONS, NAMESPACES, TokenVerifier(configured_keys(OPTIONS), insecure=False), "Fairlead test")


class Shell:
    """Carries out effects as a connection does, and checks each as it goes by.

    `attached` are the channels whose publications would be pushed now; `known` those in which
    the client knows that it is subscribed.
    """

    def __init__(self) -> None:
        self.now = START
        self.session = Session(
            SessionState("c1", CurrentPolicy(POLICY), WEBSOCKET_JSON), START + OPTIONS.stale_close_delay
        )
        self.attached: set[str] = set()
        self.known: set[str] = set()
        self.asked: dict[int, dict[str, Any]] = {}  # the commands that were sent and not answered, by id
        self.answered: list[int] = []  # the commands that were answered, RPCs aside
        self.pending: Action | None = None  # the command in progress
        self.calls: list[CallBackend] = []  # RPCs in progress, beside it
        self.called = 0  # the newest of them that was started
        self.leaving = False  # once nothing is in progress
        self.awaits_turn = False
        self.beside: list[Action] = []  # refresh hooks under way
        self.at_once = False  # whether subscribes have their outcome at once
        self.held = False
        self.slow = False
        self.fills_at = 0  # the socket is full after so many writes inside of a step, 0: it never is
        self.filled = False  # so it was in this step
        self.reading_paused = False
        self.superseded = False  # whether a later effect of this step paces the reading anew
        self.admitted = False
        self.pings = 0
        self.farewell = False
        self.ended = False
        self.facts: list[SessionEvent] = []

    def event(self, happens: Callable[[], list[Effect]]) -> None:
        """An event of the session, and everything that follows at once."""
        was_ended, self.filled, self.superseded = self.ended, False, False
        effects = happens()
        assert not was_ended or all(isinstance(effect, Detach | PaceReading) for effect in effects), effects
        self._apply(effects)
        if not self.held:
            assert self.attached == self.known == set(self.session.state.channels), "subscribed means live"

    def _apply(self, effects: list[Effect]) -> None:
        while effects:
            following: list[Effect] = []
            for effect in effects:
                following += self._carry_out(effect)
            effects = following

    def _write(self) -> None:
        """Writes inside of a step: the session hears at once that the socket is full now."""
        if self.fills_at:
            self.fills_at -= 1
            if not self.fills_at and not self.slow and not self.ended:
                self.slow = self.filled = True
                self._apply(self.session.stalled(self.now))

    def _carry_out(self, effect: Effect) -> list[Effect]:
        match effect:
            case Flush():
                self._write()
            case Send(reply):
                self._sent(reply)
            case Start(action, deadline):
                return self._started(action, deadline)
            case Detach(names):
                self.attached -= set(names)
                if self.ended or self.session.closed:
                    self.known -= set(names)
            case Announce(channel, subscription):
                assert channel in self.known, "a join goes before its reply"
                subscription.announced = subscription.member
                self._write()
            case HoldPushes():
                assert not self.held
                self.held = True
            case ReleasePushes():
                assert self.held
                self.held = False
            case CatchUp():
                self.held, self.slow = False, True
            case Admit():
                assert not self.admitted
                self.admitted = True
            case Dismiss():
                assert self.admitted
                self.admitted = False
            case AwaitTurn():
                assert not self.awaits_turn
                self.awaits_turn = True
            case SendPing():
                self.pings += 1
                assert self.pings == 1, "a ping is not answered yet"
            case PaceReading(paused):
                if paused is not self.session.reading_paused:
                    self.superseded = True
                else:
                    assert paused is not self.reading_paused or self.filled or self.superseded
                    self.reading_paused = paused
            case Record(fact):
                self.facts.append(fact)
            case Farewell():
                assert not self.ended
                self.farewell = True
            case Ended():
                assert not self.ended
                self.ended, self.held = True, False
            case _:
                pass
        return []

    def _started(self, action: Action, deadline: float) -> list[Effect]:
        assert not self.ended
        assert deadline <= self.now + COMMAND_DEADLINE_S
        if isinstance(action, AskHook) and action.event in ("refresh", "sub_refresh"):
            self.beside.append(action)
            return []
        if isinstance(action, CallBackend):
            self._called(action)
            return []
        assert self.pending is None, "a command is in progress"
        if self.at_once and isinstance(action, AttachRequest) and not self.slow:
            return self._outcome(action, Attached(SubscribeResult()))
        self.pending = action
        return []

    def _called(self, call: CallBackend) -> None:
        assert len(self.calls) < CONCURRENCY and not self.leaving
        assert not self.slow or self.filled, "its reply would pile up"
        assert call.command_id > self.called, "RPCs start in their order"
        before = [number for number in self.asked if number < call.command_id and not self.is_rpc(number)]
        assert not before, "an RPC starts after the commands before it"
        self.calls.append(call)
        self.called = call.command_id

    def is_rpc(self, number: int) -> bool:
        """Whether this command, which is not answered, is an RPC."""
        return "rpc" in self.asked[number]

    def complete(self, action: Action, outcome: Outcome) -> None:
        """The action has this outcome."""
        if action is self.pending:
            self.pending = None
        elif isinstance(action, CallBackend):
            self.calls.remove(action)
        else:
            self.beside.remove(action)
        self.event(lambda: self._outcome(action, outcome))

    def _outcome(self, action: Action, outcome: Outcome) -> list[Effect]:
        if isinstance(action, AttachRequest) and isinstance(outcome, Attached):
            self.attached.add(action.channel)
        elif isinstance(outcome, AttachedAll):
            self.attached |= set(outcome.channels)
        elif isinstance(action, Connect) and isinstance(outcome, Failed):
            self.attached.clear()
        return self.session.completed(action, outcome, self.now)

    def _sent(self, reply: Reply) -> None:
        assert not self.ended, "nothing is sent after the end"
        push = reply.push
        if push is not None:
            assert self.answered, "a push goes before the reply to connect"
            if push.subscribe is not None:
                assert push.channel not in self.known and push.channel in self.attached
                self.known.add(push.channel)
            elif push.unsubscribe is not None:
                assert push.channel not in self.attached, "a publication could follow the unsubscribe"
                self.known.remove(push.channel)
            return
        is_rpc, command = self.is_rpc(reply.id), self.asked.pop(reply.id)
        if not is_rpc:
            assert not self.answered or reply.id > self.answered[-1], "replies come in the order of the commands"
            self.answered.append(reply.id)
        if reply.connect is not None:
            self.known |= set(reply.connect.subs)
        elif reply.subscribe is not None:
            channel = command["subscribe"]["channel"]
            assert channel not in self.known and channel in self.attached
            self.known.add(channel)
        elif reply.unsubscribe is not None:
            channel = command["unsubscribe"]["channel"]
            assert channel not in self.attached, "a publication could follow the reply"
            self.known.discard(channel)
