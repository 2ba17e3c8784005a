"""Copies facts from the session log into the store, page by page. Waits while the log or the store cannot be used.

The position is in the store, beside the rows. NATS therefore needs no consumer, the facts of a failed commit are simply
read again, and a second instance of this service finds at its commit that the position has moved. It then stands by,
and folds nothing until the position stops moving although the log has more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final

from services.chassis.postgres.errors import SchemaRefused
from services.chassis.tracing.span import Span, Tracer
from services.sessions.commits import Commits, Step
from services.sessions.instruments import Instruments
from services.sessions.log_nats import LogAway, LogNewer, LogState, SessionLog
from services.sessions.overtaken import Overtaken, missing, overtaken
from services.sessions.projection_spans import begin_projections
from services.sessions.read_ahead import MAX_EVENTS, Portion, ReadAhead
from services.sessions.reports import Losses, Waiting
from services.sessions.store import ORIGIN, FactsRefused, Position, PositionConflict, Store, StoreAway

log = logging.getLogger(__name__)

CHECK_INTERVAL_S: Final = 1.0
"""How often the log's identity and end are checked."""

_RETRY_S: Final = (0.1, 2.0)  # first and longest pause
_WATCH_S: Final = 0.5
_TAKE_OVER_S: Final = 1.5
"""How often an instance that stands by looks at the position, and how long the position must not have moved, although
the log has more, before that instance takes over."""
_NOTICE_GRACE_S: Final = 0.03  # a message arrives a moment before it can be read from the stream
_FEWEST_EVENTS: Final = 500
"""After a failure the store gets a quarter of the facts in a transaction, but at least this many, and twice as many
after each success: a slow store might otherwise never finish a large transaction within the time limit of a
statement."""

_GATHER_S: Final = 0.2
_GATHER_ABOVE: Final = 10
"""If a read brings more facts, the next one begins `_GATHER_S` later: larger transactions take half the CPU."""


class Projector:
    """Follows the log. `prepare` makes the store usable; it is called before the first read and after each failure.

    `located`: the store has told its position. `caught_up`: it has everything that was in the log about a second ago.
    """

    def __init__(
        self,
        session_log: SessionLog,
        store: Store,
        prepare: Callable[[], Awaitable[None]],
        instruments: Instruments,
        tracer: Tracer | None = None,
        archiving: bool = False,
    ) -> None:
        self._log = session_log
        self._store = store
        self._prepare = prepare
        self._instruments = instruments
        self._tracer = tracer
        self._archiving = archiving
        self._position = ORIGIN
        self._written = asyncio.Event()
        self._waiting = Waiting()
        self._losses = Losses()
        self._initial_end = ORIGIN  # the end of the log when this process began to fold it from its beginning
        self._gives_way = False  # another instance follows the log
        self._most = MAX_EVENTS  # facts in a transaction
        self.located = False
        self._begun: deque[tuple[float, list[Span]]] = deque()  # of each commit: its start, and its spans
        self._last_seen: Position | None = None  # the log's end, about a second ago
        self._last_seen_at = float("-inf")
        self.events_applied = 0
        self.caught_up = False

    @property
    def sequence(self) -> int:
        """The sequence of the log up to which the store has everything."""
        return self._position.sequence

    @property
    def problem(self) -> str | None:
        """Why the log is not followed now, and what to do; None if it is."""
        return self._waiting.problem

    def notify(self) -> None:
        """Wakes the projector: something may have been written to the log."""
        self._written.set()

    async def run(self) -> None:
        """Works until cancelled."""
        pause, longest = _RETRY_S
        while True:
            try:
                await self._work()
            except PositionConflict as conflict:
                self._waiting.gives_way(conflict.actual.sequence, time.monotonic())
                self._store.release()
                self._gives_way, pause = True, _RETRY_S[0]
            except (StoreAway, LogAway, LogNewer, SchemaRefused, FactsRefused) as error:
                if self._waiting.problem is None:
                    pause = _RETRY_S[0]
                self._waiting.waits(str(error), time.monotonic())
                self.caught_up = False
                if isinstance(error, StoreAway):
                    self._most = max(_FEWEST_EVENTS, self._most // 4)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _work(self) -> None:
        await self._prepare()
        self._position = await self._store.position()
        self.located = True
        if self._gives_way:
            await self._stand_by()
        await self._check()
        reader = ReadAhead(self._log, self._written)
        try:
            await self._follow(reader)
        finally:
            await reader.close()

    async def _stand_by(self) -> None:
        """Waits while another instance follows the log: until the log has more and the position does not move."""
        still_since = time.monotonic()
        while time.monotonic() - still_since < _TAKE_OVER_S:
            await asyncio.sleep(_WATCH_S)
            stored, state = await self._store.position(), await self._log.state()
            if stored != self._position or stored == Position(state.epoch, state.last):
                still_since = time.monotonic()
            self._position = stored
            self._judge(state)
            self._waiting.follows(self.sequence)
        self._gives_way = False
        log.info("no other instance folds the session log any more: taking over from message %d", self.sequence + 1)

    async def _follow(self, reader: ReadAhead) -> None:
        while True:
            commits = Commits(self._store, self._position, self._took, self._archiving)
            self._begun.clear()
            try:
                await self._follow_until_check(reader, commits)
                while await self._is_followed_by(commits):
                    await self._follow_until_check(reader, commits)
                await self._finish_all(commits)
            finally:
                await commits.close()
            await self._check()

    async def _follow_until_check(self, reader: ReadAhead, commits: Commits) -> None:
        due = time.monotonic() + CHECK_INTERVAL_S
        while True:
            reader.most = self._most
            reading = await reader.read(commits.begun + 1)
            for portion in reading.portions:
                self._begin(commits, await self._with_overtaken(commits.begun + 1, portion))
                if commits.are_many:
                    await self._finish(commits)
            if not reading.more:
                await self._finish_all(commits)
                self._waiting.follows(self.sequence)  # not before: a store that can be read may refuse to be written
                many = sum(portion.events for portion in reading.portions) > _GATHER_ABOVE
                await self._wait_for_notice(_GATHER_S if many else _NOTICE_GRACE_S)
            if time.monotonic() >= due:
                return

    async def _is_followed_by(self, commits: Commits) -> bool:
        """Whether commits are in progress, and belong to the log as it is now. The commits check the position
        themselves, so with a backlog they need not stop for the check of the log: while one is written, the next one is
        folded."""
        if commits.are_done:
            return False
        self._losses.say(time.monotonic())
        state = await self._log.state()
        if state.epoch != self._position.epoch or state.last < commits.begun:
            return False
        self._judge(state)
        return True

    async def _wait_for_notice(self, gather_s: float) -> None:
        try:
            async with asyncio.timeout(CHECK_INTERVAL_S):
                await self._written.wait()
        except TimeoutError:
            return
        await asyncio.sleep(gather_s)

    async def _with_overtaken(self, start: int, portion: Portion) -> Portion:
        """The portion that begins at the message `start`, with the messages that were dropped from the log, or deleted,
        before it was read."""
        stretches = missing(start, portion.entries)
        if not stretches:
            return portion
        state = await self._log.state()
        if state.epoch != self._position.epoch:
            return portion  # the next check finds that it is another log
        return portion._replace(overtaken=self._overtaken(stretches, state.first))

    def _overtaken(self, stretches: list[Overtaken], begins: int) -> tuple[Overtaken, ...]:
        return overtaken(
            stretches, begins, self._initial_end.sequence if self._initial_end.epoch == self._position.epoch else 0
        )

    def _begin(self, commits: Commits, portion: Portion) -> None:
        spans = [] if self._tracer is None else begin_projections(self._tracer, portion.batches)
        self._begun.append((time.monotonic(), spans))
        commits.begin(portion)

    async def _finish(self, commits: Commits) -> None:
        started, spans = self._begun.popleft()
        with ExitStack() as ended:
            for span in spans:
                ended.enter_context(span)
            portion = await commits.finish()
        self._most = min(MAX_EVENTS, self._most * 2)
        self._waiting.follows(self.sequence)
        self._instruments.batch_seconds.observe(time.monotonic() - started)
        unknown = [name for entry in portion.entries for name in entry.unknown]
        self._instruments.unknown_types.inc(len(unknown))
        self._losses.add((), unknown)
        self._losses.say(time.monotonic())

    async def _finish_all(self, commits: Commits) -> None:
        while not commits.are_done:
            await self._finish(commits)

    def _took(self, step: Step) -> None:
        self._position = step.position
        outcome, instruments = step.outcome, self._instruments
        instruments.events.inc(outcome.events)
        instruments.duplicates.inc(outcome.duplicates)
        instruments.unknown.inc(outcome.unknown)
        instruments.interrupted.inc(outcome.interrupted)
        instruments.resumed.inc(outcome.resumed)
        instruments.edges_lost.inc(outcome.edges_lost)
        instruments.dead_letters.inc(len(step.letters) - outcome.without_room)
        self.events_applied += outcome.events
        instruments.overtaken.inc(outcome.overtaken)
        self._losses.add(step.letters, (), outcome.without_room)
        self._losses.add_overtaken(outcome.overtaken, step.overtaken)

    async def _check(self) -> None:
        """Checks that the position is in this log, and whether the store has caught up with it.

        Starts over if the log was recreated. Raises `PositionConflict` if another instance has moved the position.
        """
        self._losses.say(time.monotonic())
        stored = await self._store.position()  # an idle service thus notices that its store is unavailable
        if stored != self._position:
            raise PositionConflict(stored)
        state = await self._log.state()
        if state.epoch == self._position.epoch and state.last < self._position.sequence:
            ended_at = state.last
            state = await self._log.renew()
            log.error(
                "the session log ended at message %d, %d were applied: it was rolled back", ended_at, self.sequence
            )
        if state.epoch != self._position.epoch:
            await self._start_over(state)
        elif state.first > state.last > self.sequence:
            await self._pass_over(state.last)
        if self.sequence == 0:
            self._initial_end = Position(state.epoch, state.last)
        self._judge(state)

    def _judge(self, state: LogState) -> None:
        """Whether the store has caught up with the log."""
        lag_batches = max(0, state.last - max(self._position.sequence, state.first - 1))
        # While facts arrive, the newest are never in the store yet. It is enough that the store has those of a second
        # ago: edges are declared lost only after several seconds of silence.
        self.caught_up = lag_batches == 0 or (
            self._last_seen is not None
            and self._last_seen.epoch == state.epoch
            and self._last_seen.sequence <= self._position.sequence
        )
        if time.monotonic() - self._last_seen_at >= CHECK_INTERVAL_S:
            self._last_seen, self._last_seen_at = Position(state.epoch, state.last), time.monotonic()

    async def _pass_over(self, last: int) -> None:
        """Moves the position to the end of the log, which has no message left, and remembers what was not folded."""
        after, stretches = (
            Position(self._position.epoch, last),
            self._overtaken([Overtaken(self.sequence + 1, last)], last + 1),
        )
        self._took(Step(after, await self._store.commit(self._position, after, [], overtaken=stretches), [], stretches))
        self._losses.say(time.monotonic())

    async def _start_over(self, state: LogState) -> None:
        """Follows another log from its beginning. The rows stay: they are still true."""
        before = self._position
        after = Position(state.epoch, 0)
        await self._store.commit(before, after, [])
        self._position = after
        if before != ORIGIN:
            self._instruments.recreated.inc()
            log.error(
                "the session log was recreated: epoch %s, was %s; reading it from its beginning. Facts of the old log "
                "after message %d, if any, are lost; batches that were applied already are skipped",
                state.epoch,
                before.epoch,
                before.sequence,
            )
