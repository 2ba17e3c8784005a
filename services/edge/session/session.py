"""One client's conversation: events in, effects out. Does no I/O and reads no clock.

Commands are handled in order of arrival, the client's own and those of backends. If a command needs the cluster or a
hook, the session starts an action (`Start`), and the commands behind it wait in the queue until `completed` gets the
outcome. RPCs run beside it, up to `client.concurrency` of them. All commands wait while the session is blocked: replies
to a client that does not read would pile up. The base class, in `lifecycle`, has the phases of a session.

Each method returns the effects of one event. The connection carries them out before it hands in the next event; only
`stalled` may come in between, from a write that fills the socket.
"""

from __future__ import annotations

from typing import assert_never

from proto import codes
from proto.codes import ErrorCode
from proto.commands import Command, SendRequest, request_of
from proto.events import BY_BACKEND
from proto.messages import Error
from proto.replies import Reply, reply_to
from services.edge.backend import hook_results
from services.edge.channels.subscription import AttachRequest
from services.edge.hook_settings import COMMAND_DEADLINE_S
from services.edge.rejection import Rejected
from services.edge.session import attachment, server_commands
from services.edge.session.actions import (
    Action,
    AskHook,
    CallBackend,
    Connect,
    LookUpKey,
    Publish,
    ReadHistory,
    ReadPresence,
)
from services.edge.session.command_kinds import Aim, aim_behind, aim_of, count_close, kind_behind, kind_of
from services.edge.session.decisions import (
    NOTHING,
    Close,
    Decision,
    EndSubscriptions,
    ForwardMessage,
    Nothing,
    Renewed,
    Unsubscribe,
)
from services.edge.session.dispatch import decide, decide_by_hook, decide_first, decide_without_key
from services.edge.session.effects import Detach, Effect, Flush, Forward, Send, SendPing, Start, refusal
from services.edge.session.lifecycle import Lifecycle
from services.edge.session.outcomes import Attached, AttachedAll, Failed, HookAnswered, KeyLookedUp, Outcome, Replied
from services.edge.session.refresh import refresh_by_hook, sub_refresh_by_hook
from services.edge.session.server_commands import ServerCommand
from services.edge.session.state import NEW, REFUSED
from services.edge.tokens.tokens import UnknownKey


class Session(Lifecycle):
    """One client's conversation. `state` describes the client, which has to connect before `stale_at`."""

    __slots__ = ()

    # --- commands ----------------------------------------------------------------------------------------------------

    def _handle(
        self, command: Command, effects: list[Effect], now: float, *, keys_are_fresh: bool | None = None
    ) -> None:
        """`keys_are_fresh` is the result of looking up the token's key (`KeyLookedUp.fresh`), None before a look-up."""
        if keys_are_fresh is None and self.state.policy.tracer is not None:
            self._begin_trace(self.state.policy.tracer, command)
        try:
            decision = self._decide(command, now, keys_are_fresh)
        except Rejected as rejection:
            self._reject(command, rejection, effects, now)
        else:
            count_close(self.state.policy, command, decision)
            self._follow(decision, effects, now)
        self._end_trace(effects)

    def _decide(self, command: Command, now: float, keys_are_fresh: bool | None) -> Decision:
        connecting = self.phase is NEW
        try:
            if connecting:
                return decide_first(self.state, command, now)
            if self.phase is REFUSED:
                return NOTHING
            if command.id or isinstance(request_of(command), SendRequest):
                return decide(self.state, command, now)
            if self._timers.pong(self.state, now):
                return NOTHING
            return Close(codes.BAD_REQUEST_CLOSE, "the client sent a pong without a ping")
        except UnknownKey as error:
            if keys_are_fresh is None:
                return LookUpKey(command, error.kid, error.keys)
            return decide_without_key(command, connecting, keys_are_fresh)

    def _reject(self, command: Command, rejection: Rejected, effects: list[Effect], now: float) -> None:
        error = rejection.error
        self._log_command(kind_of(command), aim_of(command), error, rejection.why, effects)
        self._refuse(command.id, kind_of(command), aim_of(command).channel, error, rejection.why, effects, now)

    def _refuse(
        self, command_id: int, kind: str, channel: str, error: ErrorCode, why: str, effects: list[Effect], now: float
    ) -> None:
        if self.phase is NEW:
            self._refuse_connect(command_id, error, why, effects, now)
            return
        self._note_error(kind, error)
        effects.append(refusal(kind, error, channel, why))
        if command_id:  # a `send` has none, and no reply
            effects.append(Send(reply_to(command_id, Error(*error))))

    def _follow(self, decision: Decision, effects: list[Effect], now: float) -> None:
        if type(decision) is AttachRequest or type(decision) is Publish:  # the usual case: see `Connection._carry_out`
            self._start(decision, effects, now)
            return
        match decision:
            case Connect():
                self._connect(decision, effects, now)
            case Reply():
                effects.append(Send(decision))
            case Renewed(reply, channel):
                if reply is not None:
                    effects.append(Send(reply))
                effects += attachment.renewed(self.state, channel, now)
            case ReadHistory() | ReadPresence() | CallBackend() | LookUpKey() | AskHook():
                self._start(decision, effects, now)
            case Unsubscribe(channel, reply):
                effects += attachment.unsubscribed(self.state, channel, reply, now)
            case EndSubscriptions(channels, why, reply, by):
                for channel in channels:
                    self._end_subscription(channel, why, effects, now, by)
                if reply is not None:
                    effects.append(Send(reply))
            case ForwardMessage(data):
                self.state.policy.count("send", 0)
                effects.append(Forward(self.state.caller, data, self.state.trace))
            case Close(close, detail, by, reason):
                self._close(close, detail, effects, now, by, reason)
            case Nothing():
                pass
            case unreachable:
                assert_never(unreachable)

    # --- outcomes ----------------------------------------------------------------------------------------------------

    def completed(self, action: Action, outcome: Outcome, now: float) -> list[Effect]:
        """Takes the outcome of an action. If that attached the client, the effects send the reply, or detach it."""
        effects: list[Effect] = []
        self.state.trace_by(action.trace)
        if self.closed:
            if isinstance(action, AttachRequest) and isinstance(outcome, Attached):
                effects.append(Detach((action.channel,)))
            elif isinstance(outcome, AttachedAll):
                effects.append(Detach(tuple(outcome.channels)))
            self._end_trace(effects)
            return effects
        self._conclude(action, outcome, effects, now)
        self._end_trace(effects)
        self._finish(action, effects, now)
        return self._advance(effects, now)

    def _conclude(self, action: Action, outcome: Outcome, effects: list[Effect], now: float) -> None:
        if type(outcome) is Replied:
            effects.append(Send(reply_to(action.command_id, outcome.result)))
            return
        match action, outcome:
            case AttachRequest(), Attached():
                entering, catches_up = attachment.subscribed(self.state, action, outcome, self.blocked, now)
                self.blocked = self.blocked or catches_up
                effects += entering
            case Connect(), AttachedAll(channels):
                effects += attachment.connected(self.state, action, channels, now)
                self.blocked = True
                self._open(now)
            case LookUpKey(command), KeyLookedUp(fresh):
                self._handle(command, effects, now, keys_are_fresh=fresh)
            case AskHook(), HookAnswered() as answered:
                self._hook_answered(action, answered, effects, now)
            case CallBackend(), HookAnswered(hook_results.Disconnected(close)):
                self.state.policy.count("rpc", close.code)
                self._close(close, "the answer to an RPC disconnected the client", effects, now, BY_BACKEND)
            case _, Failed():
                self._failed(action, outcome, effects, now)
            case _:
                raise AssertionError(f"{type(outcome).__name__} is not an outcome of {type(action).__name__}")

    def _failed(self, action: Action, failed: Failed, effects: list[Effect], now: float) -> None:
        error = failed.error
        if isinstance(action, AskHook) and action.event in ("refresh", "sub_refresh"):
            return  # the hook is asked again, until the grace period ends the connection
        if isinstance(action, AttachRequest) and not action.command_id:
            why = failed.why or error.message
            self._log("a backend's subscribe was not carried out", why, effects, error.code, aim_behind(action))
            effects.append(refusal("subscribe", error, action.channel, failed.why))
            return
        if failed.why and not failed.logged:
            self._log_command(kind_behind(action), aim_behind(action), error, failed.why, effects)
        if isinstance(action, Connect):
            self._refuse_connect(action.command_id, error, failed.why, effects, now)
        else:
            channel = aim_behind(action).channel
            self._refuse(action.command_id, kind_behind(action), channel, error, failed.why, effects, now)

    def _hook_answered(self, action: AskHook, answered: HookAnswered, effects: list[Effect], now: float) -> None:
        result = answered.result
        if action.event == "refresh":
            if isinstance(result, hook_results.Extended):
                self._timers.refreshed()
            self._follow(refresh_by_hook(self.state, result, now), effects, now)
        elif action.event == "sub_refresh":
            channel = aim_of(action.command).channel
            self._follow(sub_refresh_by_hook(self.state, channel, result, now), effects, now)
        elif isinstance(result, hook_results.Refused):
            command, error, aim = action.command, result.error, aim_of(action.command)
            # If nobody answers the hook, or something is wrong with the answer, that is logged already.
            if error.code != codes.INTERNAL.code and not result.why:
                # The message is the backend's own text, so it cannot be part of the kind of refusal.
                self._log(f"a command was refused by the {action.event} hook", error.message, effects, error.code, aim)
            self._refuse(command.id, kind_of(command), aim.channel, error, result.why, effects, now)
        else:
            try:
                decision = decide_by_hook(self.state, action.command, result, now)
            except Rejected as rejection:
                self._reject(action.command, rejection, effects, now)
            else:
                count_close(self.state.policy, action.command, decision)
                self._follow(decision, effects, now)

    # --- commands of backends ----------------------------------------------------------------------------------------

    def _handle_server_command(self, command: ServerCommand, effects: list[Effect], now: float) -> None:
        effects.append(Flush(tuple(self.state.channels)))  # earlier publications come first
        self.state.trace_by(command.trace)
        try:
            self._follow(server_commands.decide(self.state, command, now), effects, now)
        except Rejected as rejection:
            aim = Aim(getattr(command, "channel", ""))
            error = rejection.error
            self._log("a backend's subscribe was refused", rejection.for_log, effects, error.code, aim)
            effects.append(refusal("subscribe", error, aim.channel, rejection.why))
        self._end_trace(effects)

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Does what is due at `now`."""
        effects: list[Effect] = []
        if self.closed:
            return effects
        if self.blocked or self._queue is not None:
            self._timers.excuse_pong(self.state, now)  # the client cannot take our ping, or its pong waits in the queue
        due = self._timers.due(self.state, self.phase, now)
        if isinstance(due, SendPing):
            effects.append(due)
        elif isinstance(due, AskHook):  # no command waits for a hook about an expiry
            effects.append(Start(due, now + COMMAND_DEADLINE_S))
        else:
            self._follow(due, effects, now)
        return effects
