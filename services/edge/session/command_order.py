"""Queues one client's commands: one is in progress, with RPCs beside it; the others wait in order and within bounds.

The subclass, `Session`, decides on each command and on the end of the session.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from msgspec.structs import replace

from proto import codes
from proto.codes import CloseCode, ErrorCode
from proto.commands import Command
from proto.events import BY_EDGE
from services.chassis.tracing.span import Tracer
from services.edge.hook_settings import COMMAND_DEADLINE_S
from services.edge.session.actions import Action, CallBackend
from services.edge.session.command_kinds import NO_AIM, Aim
from services.edge.session.command_queue import (
    QUEUED_BYTES_CEILING,
    QUEUED_BYTES_LIMIT,
    SERVER_COMMANDS_LIMIT,
    CommandQueue,
)
from services.edge.session.effects import AwaitTurn, Effect, EndSpan, LogRefusal, PaceReading, Start
from services.edge.session.server_commands import ServerCommand
from services.edge.session.state import SessionState
from services.edge.session.traced_commands import begin_command

COMMANDS_PER_TURN: Final = 16
"""Commands that are handled in one turn of the event loop, unless each comes in a message of its own. A command takes
10 to 100 us; one with an elliptic-curve signature takes up to 1 ms."""


class CommandOrder(ABC):
    """Keeps the order and the bounds of a client's commands. `state` describes the client.

    `blocked`: the client does not take what is written to it, or has to catch up first; its commands wait. `closed`:
    the session is over, and nothing is sent any more. `reading_paused`: nothing is read from the client for now.
    `awaits_turn`: commands wait for `turn`, so that those of other clients come in between.
    """

    __slots__ = (
        "_allowance",
        "_calls",
        "_deadline",
        "_in_progress",
        "_leaving",
        "_queue",
        "awaits_turn",
        "blocked",
        "closed",
        "reading_paused",
        "state",
    )

    def __init__(self, state: SessionState) -> None:
        self.state = state
        self.closed = False
        self.blocked = False
        self._queue: CommandQueue | None = None  # None while nothing waits
        self._in_progress: Action | None = None
        self._calls = 0  # RPCs in progress, beside that action
        self._deadline = 0.0  # of the action in progress
        self._leaving: tuple[CloseCode, str] | None = None  # how to close once nothing is in progress, and by whom
        self.reading_paused = False
        self.awaits_turn = False
        self._allowance = COMMANDS_PER_TURN  # of queued commands, in this turn

    # --- for the subclass --------------------------------------------------------------------------------------------

    @property
    def _limit(self) -> int:
        """How many of the client's commands may wait."""
        return self.state.policy.section.queued_commands_limit

    @property
    def _bytes_ceiling(self) -> int:
        """How many bytes of commands may wait; a message of the largest size always may."""
        return max(QUEUED_BYTES_CEILING, 2 * self.state.policy.section.message_size_limit)

    @property
    @abstractmethod
    def _takes_server_commands(self) -> bool:
        """Whether the client is connected, or connecting to its channels."""

    @abstractmethod
    def _handle(self, command: Command, effects: list[Effect], now: float) -> None:
        """Handles a command of the client."""

    @abstractmethod
    def _handle_server_command(self, command: ServerCommand, effects: list[Effect], now: float) -> None:
        """Handles a command of a backend."""

    @abstractmethod
    def _close(
        self, close: CloseCode, detail: str, effects: list[Effect], now: float, by: str = BY_EDGE, reason: str = ""
    ) -> None:
        """Ends the session. The parameters are the fields of `decisions.Close`."""

    # --- events ------------------------------------------------------------------------------------------------------

    def commands(self, commands: list[Command], size: int, now: float) -> list[Effect]:
        """Takes the commands of one message of `size` bytes."""
        effects: list[Effect] = []
        if self.closed:
            return effects
        free = self._in_progress is None and not self.blocked and self._leaving is None
        if free and self._queue is None and len(commands) == 1:
            self._handle(commands[0], effects, now)  # the usual case needs no queue
            self._pace_reading(effects)
            return effects
        queue = self._queue_for_more()
        queue.add(commands, size)
        if queue.commands > self._limit or queue.queued_bytes > self._bytes_ceiling:
            self._close(codes.TOO_MANY_REQUESTS_CLOSE, "too many commands are waiting", effects, now)
        return self._advance(effects, now)

    def server_command(self, command: ServerCommand, now: float) -> list[Effect]:
        """Takes a command of a backend, which waits behind the client's commands."""
        effects: list[Effect] = []
        if not self._takes_server_commands:
            return effects
        queue = self._queue_for_more()
        if queue.server_commands >= SERVER_COMMANDS_LIMIT:
            self._close(codes.SLOW, "too many commands of backends are waiting", effects, now)
            return effects
        queue.add_server_command(command)
        return self._advance(effects, now)

    def turn(self, now: float) -> list[Effect]:
        """Goes on with the commands that wait. Called in a later turn of the event loop than `AwaitTurn`."""
        self.awaits_turn = False
        self._allowance = COMMANDS_PER_TURN
        return self._advance([], now)

    def leave(self, close: CloseCode, now: float, by: str = BY_EDGE) -> list[Effect]:
        """Closes once the commands in progress are answered, and starts no others. `by`: who wants it."""
        effects: list[Effect] = []
        self._leaving = close, by
        self._leave_if_done(effects, now)
        return effects

    @property
    def leaving(self) -> bool:
        """Whether `leave` was called: the session closes, or has closed."""
        return self._leaving is not None

    def _leave_if_done(self, effects: list[Effect], now: float) -> None:
        if self._leaving is not None and self._in_progress is None and not self._calls:
            close, by = self._leaving
            self._close(close, "", effects, now, by)

    # --- the queue ---------------------------------------------------------------------------------------------------

    def _queue_for_more(self) -> CommandQueue:
        if self._queue is None:
            self._queue, self._allowance = CommandQueue(), COMMANDS_PER_TURN
        return self._queue

    def _advance(self, effects: list[Effect], now: float) -> list[Effect]:
        """Handles queued commands: RPCs up to their limit, and others up to the first one that has to wait; in all, no
        more than one turn allows.
        """
        while (queue := self._queue) is not None and not self.blocked and self._leaving is None and not self.closed:
            item: Command | ServerCommand | None = None
            may_call = queue.calls and self._calls < self.state.policy.section.concurrency
            if self._in_progress is not None and not may_call:
                break
            if not self._allowance:
                if not self.awaits_turn:
                    self.awaits_turn = True
                    effects.append(AwaitTurn())
                break
            self._allowance -= 1
            if may_call:
                self._call(queue.take_call(), effects, now)
            elif (item := queue.take()) is None:
                break
            if not queue:
                self._queue = None
            if isinstance(item, Command):
                self._handle(item, effects, now)
            elif item is not None and self._takes_server_commands:  # otherwise its connect failed meanwhile
                self._handle_server_command(item, effects, now)
        self._pace_reading(effects)
        return effects

    def _start(self, action: Action, effects: list[Effect], now: float) -> None:
        """Starts an action of the next command, or a further one of the command in progress, whose deadline stays.

        An RPC runs beside the command in progress; RPCs beyond the limit wait apart.
        """
        trace = self.state.trace
        if trace is not None:
            action = replace(action, trace=trace)
            self.state.trace_by(None)
        if type(action) is not CallBackend:
            if self._in_progress is None:
                self._deadline = now + COMMAND_DEADLINE_S
            self._in_progress = action
            effects.append(Start(action, self._deadline))
        elif self._calls < self.state.policy.section.concurrency:
            self._call(action, effects, now)
        else:
            self._queue = self._queue or CommandQueue()
            self._queue.set_aside(action)

    def _call(self, call: CallBackend, effects: list[Effect], now: float) -> None:
        self._calls += 1
        effects.append(Start(call, now + COMMAND_DEADLINE_S))

    def _begin_trace(self, tracer: Tracer, command: Command) -> None:
        """Begins the span of a command that is about to be handled, if it is sampled."""
        self.state.trace_by(begin_command(tracer, self.state.id, command))

    def _note_error(self, kind: str, error: ErrorCode) -> None:
        """Notes that the command being handled, which is of this kind, gets this error."""
        self.state.policy.count(kind, error.code)
        if self.state.trace is not None:
            self.state.trace.fail(f"{error.code} {error.message}")

    def _log(self, what: str, why: str, effects: list[Effect], code: int, aim: Aim = NO_AIM) -> None:
        """Logs a refusal, under the trace of the command that is being handled."""
        effects.append(LogRefusal(what, why, code, aim.channel, aim.method, self.state.trace))

    def _log_command(self, kind: str, aim: Aim, error: ErrorCode, why: str, effects: list[Effect]) -> None:
        """Logs the refusal of a command of this kind; `why` may be empty."""
        self._log(
            f"a command was refused: {error.message}", f"{kind}: {why}" if why else kind, effects, error.code, aim
        )

    def _end_trace(self, effects: list[Effect]) -> None:
        """Ends the span of the command that was handled, unless an action has taken the span over."""
        if self.state.trace is not None:
            effects.append(EndSpan(self.state.trace))
            self.state.trace_by(None)

    def _finish(self, action: Action, effects: list[Effect], now: float) -> None:
        """The action is done, and if the command in progress started no further action, so is the command."""
        if self._in_progress is action:
            self._in_progress = None
        elif type(action) is CallBackend:
            self._calls -= 1
        self._leave_if_done(effects, now)

    def _clear(self) -> None:
        """Ends the session and discards the commands that wait."""
        self.closed = True
        self.awaits_turn = False
        self._queue = None

    def _pace_reading(self, effects: list[Effect]) -> None:
        """Stops reading from a client that has many commands waiting, does not read itself, or awaits its next turn.

        Resumes afterwards.
        """
        queue = self._queue
        if queue is None and not self.blocked and not self.reading_paused:
            return
        much = queue is not None and (queue.commands > self._limit // 2 or queue.queued_bytes > QUEUED_BYTES_LIMIT)
        paused = not self.closed and (self.blocked or self.awaits_turn or much)
        if paused is not self.reading_paused:
            self.reading_paused = paused
            effects.append(PaceReading(paused))
