"""The streams behind channels with history. The first edge makes them, the others check them; each has an epoch.

One stream holds one partition of one history class. It keeps `history_size` messages of each channel for `history_ttl`,
and republishes what it has stored to the subject to which edges subscribe. The number of partitions decides which
stream holds a channel. Two edges must never disagree on that number, so the first one's is kept in the streams'
metadata and wins over later configurations.

`NatsAway` and `NatsRefused` are passed on: `broker_nats` translates them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import API_TIMEOUT_S, StreamState, stream_state
from services.chassis.process.complaint import Complaint
from services.chassis.process.tasks import Tasks
from services.edge.broker.asking_nats import ask_again
from services.edge.broker.broker import MAX_DUPLICATE_WINDOW_S, ChannelAddress, LogState
from services.edge.broker.history_classes_nats import HistoryClasses
from services.edge.broker.known_streams import KnownStreams
from services.edge.broker.log_index_nats import LogIndexes
from services.edge.broker.log_limits_nats import LogLimits
from services.edge.broker.log_lineage import LEADERS_KEY
from services.edge.broker.partition_count_nats import PARTITIONS_KEY, count_in, count_told_by, warn_of_kept
from services.edge.broker.rollback_nats import Known, RollbackGuard
from services.edge.broker.stream_gates_nats import CHECK_TIMEOUT_S, StreamGates
from services.edge.broker.stream_marking_nats import StreamMarking
from services.edge.broker.stream_marks_nats import Mark, StreamMarks
from services.edge.channel_settings import ChannelOptions

log = logging.getLogger(__name__)

_CHECK_RETRY_S: Final = 0.2
_CLOCK_S: Final = 0.05
"""How far the clock of NATS may be off. NATS cannot restart, and store something, in so little time."""
_INDEX_PART: Final = 5
"""The index of a log gets this fraction, one fifth, of the history's bytes."""


class LogStreams:
    """All streams of one configuration: which stream holds a channel, its epoch, and its last sequence."""

    def __init__(
        self,
        link: NatsLink,
        classes: dict[str, ChannelOptions],
        partitions: int,
        gates: StreamGates,
        now: Callable[[], float],
        on_checked: Callable[[str], None] = lambda stream: None,
    ) -> None:
        """`on_checked(stream)`: the stream has another epoch, or it was in doubt or shut, and is the same as before.
        `classes` may change: see `HistoryClasses`. `now` is the clock of NATS, in Unix seconds."""
        self._link = link
        self._gates = gates
        self._now = now
        self._on_checked = on_checked
        self._classes = classes
        self._connected_until = 0.0
        self._wanted_partitions = partitions
        self._partitions: dict[str, int] = {}
        self._names: dict[str, tuple[str, int]] = {}  # of the streams, each with its class and partition
        self.known = KnownStreams(self.check_soon)
        self._reading: dict[str, asyncio.Lock] = {}
        self._next_reads: dict[str, asyncio.Task[LogState]] = {}  # reads that have not begun
        self._reads = Tasks()
        self._checked: set[str] = set()  # made or checked since the connection was made
        self.unanswered: set[str] = set()  # streams that did not report their state when asked last, or have no leader
        self.indexes = LogIndexes(link)
        self.limits = LogLimits()
        self.marks = StreamMarks(link, self._marked)
        self.marking = StreamMarking(self.marks, self.known, self.fresh_state, self._names.__contains__)
        self.guard = RollbackGuard(link, self.marks)
        self.classes = HistoryClasses(classes, self.ensure_class, self._forget)

    async def ensure_class(self, history_class: str) -> None:
        """Makes the streams of a class that are missing, and changes limits that differ from the configuration.

        Streams of the class that cannot be checked are shut; they are changed before they are opened again. Raises
        `NatsAway` without a connection, and if the number of streams is not known, as none of them answers; raises
        `NatsRefused` for the first one that is refused. A stream in use that cannot be changed stays in use as it is,
        and its error is raised, whichever it is.
        """
        known = subjects.log_stream(history_class, 0) in self._names  # the count of a class that was gone is read again
        kept = self._partitions.get(history_class) if known else None
        others = range(kept) if kept else range(1, await self._ensure_first(history_class))
        errors = await asyncio.gather(*(self._ensure_or_shut(history_class, each) for each in others))
        if error := next(filter(None, errors), None):
            raise error
        if not self._link.is_connected:  # then nothing was shut
            raise NatsAway("the connection to NATS is lost")

    async def _ensure_first(self, history_class: str) -> int:
        """The same for the first stream, while it is not known how many partitions the class has. Returns their
        number, which the stream says."""
        count, away = self._wanted_partitions, None
        try:
            first = await self._ensure_partition(history_class, 0, count)
            kept = count_in(first) or count
        except NatsAway as error:
            others = [subjects.log_stream(history_class, each) for each in range(1, count)]
            kept, away = await count_told_by(self._link, others, CHECK_TIMEOUT_S), error
            if not kept:
                raise
        self._options_of(history_class)  # it may be gone meanwhile
        if kept != count:
            warn_of_kept(history_class, kept, count)
        self._partitions[history_class] = kept
        self._name(history_class, kept)
        if away is not None:
            self._shut(subjects.log_stream(history_class, 0), away)
        elif kept != count:  # each partition has its share of the bytes
            await self._ensure_partition(history_class, 0, kept)
        return kept

    def _name(self, history_class: str, count: int) -> None:
        self._names.update({subjects.log_stream(history_class, p): (history_class, p) for p in range(count)})

    async def _ensure_or_shut(self, history_class: str, partition: int) -> NatsAway | NatsRefused | None:
        stream = subjects.log_stream(history_class, partition)
        in_use, opened = self._is_in_use(stream), self._gates.opened(stream)
        try:
            await self._ensure_partition(history_class, partition, self._partitions[history_class])
        except (NatsAway, NatsRefused) as error:
            if in_use:
                return error
            if opened == self._gates.opened(stream):  # otherwise another check has succeeded meanwhile
                self._shut(stream, error)
            return error if isinstance(error, NatsRefused) else None
        return None

    def _is_in_use(self, stream: str) -> bool:
        return stream in self._checked and self._gates.of(stream) is None

    def _shut(self, stream: str, error: NatsAway | NatsRefused) -> None:
        self._checked.discard(stream)  # it may have other limits than its class has now
        self._gates.shut(stream, error)

    async def check(self, stream: str) -> None:
        """Makes sure that a stream of a log can be used. Raises `NatsAway`, `NatsRefused`."""
        if stream not in self._names:
            if (history_class := subjects.class_of_stream(stream)) in self._classes:
                await self.ensure_class(history_class)
        elif stream not in self._checked:
            history_class, partition = self._names[stream]
            await self._ensure_partition(history_class, partition, self._partitions[history_class])
        else:
            await self.fresh_state(stream)
        if stream in self.unanswered:
            raise NatsAway("most of the servers that have it are away")

    async def _ensure_partition(self, history_class: str, partition: int, count: int) -> StreamState:
        name, options = subjects.log_stream(history_class, partition), self._options_of(history_class)
        known = self._known_of(name)
        stored, live = subjects.log_subjects(history_class, partition)
        share = options.history_max_bytes // count
        log_bytes, index_bytes = share - share // _INDEX_PART, share // _INDEX_PART
        doubts = self.limits.of(name).doubts
        made = await ensure_stream(
            self._link,
            stream_config(
                name,
                stored,
                float(options.history_ttl),
                _window_s(options),
                max_bytes=log_bytes or None,
                refuse_when_full=options.history_when_full == "refuse",
                max_msgs_per_subject=options.history_size,
                republish_to=live,
                metadata={PARTITIONS_KEY: str(count), LEADERS_KEY: self._link.server_id},
                replicas=options.replicas,
            ),
        )
        state = await self.guard.judge(name, await stream_state(self._link, name) or made, known)
        self._options_of(history_class)  # it may be gone meanwhile
        self._note(name, state, doubts)
        kept_s, size = float(options.history_meta_ttl), options.history_size
        self.indexes.follow(name, stored, state, kept_s, index_bytes or -1, size, options.replicas)
        self._checked.add(name)
        if self._answered(name, state):
            self._gates.open(name)
        return state

    def _options_of(self, history_class: str) -> ChannelOptions:
        """Raises `NatsRefused` for a class that is gone: a reload removed it, or failed to add it."""
        options = self._classes.get(history_class)
        if options is None:
            raise NatsRefused(f"no namespace uses the streams of {history_class} any more")
        return options

    def _forget(self, classes: Collection[str]) -> None:
        for stream in [name for name, (history_class, _) in self._names.items() if history_class in classes]:
            del self._names[stream]
            self.unanswered.discard(stream)
            self.indexes.forget(stream)
            self._checked.discard(stream)
            self.guard.forget(stream)
            self._gates.forget(stream)

    def _answered(self, stream: str, state: StreamState) -> bool:
        if state.has_majority:
            self.unanswered.discard(stream)
        else:
            self.unanswered.add(stream)
            self._gates.shut(stream, NatsAway("most of the servers that have it are away"))
        return state.has_majority

    def stop(self) -> None:
        """Cancels reads that are in progress, and leaves marks."""
        self._reads.cancel()
        self.indexes.stop()
        self.marking.stop()
        self.guard.stop()

    def disconnected(self) -> None:
        """The connection dropped: no stream is known to be what it was."""
        self._connected_until = self._now() + _CLOCK_S
        self._checked.clear()
        self.limits.doubt_all()

    @property
    def checked(self) -> Collection[str]:
        """The streams that were checked over this connection."""
        return self._checked

    def shut_unchecked(self) -> None:
        """Shuts the streams that were not checked in time."""
        silent = NatsAway("no answer in time", "timeout")
        for history_class in self._classes:
            if history_class not in self._partitions:
                self._gates.shut(subjects.log_stream(history_class, 0), silent)
        for stream in self._names.keys() - self._checked:
            self._gates.shut(stream, silent)

    @property
    def usable(self) -> bool:
        """Whether a stream was checked over this connection, or there is none to check."""
        return bool(self._checked) or not self._classes

    def _marked(self, stream: str, mark: Mark) -> None:
        """Another edge has marked a stream."""
        if self.known.epoch(stream) == mark.epoch:
            self.known.seen(stream, mark.sequence)
        else:
            self.check_soon(stream)

    def _known_of(self, stream: str) -> Known:
        known = self.known
        return Known(
            known.epoch(stream),
            known.reached(stream),
            self.marks.get(stream),
            known.in_doubt(stream),
            self._connected_until,
        )

    def address(self, address: ChannelAddress) -> subjects.LogAddress:
        """The stream and the subjects of a channel's log. Raises `NatsAway` if no stream of its class has answered."""
        count = self._partitions.get(address.history_class)
        if count is None:
            raise NatsAway("the streams of its namespace do not answer")
        return subjects.log_address(address.history_class, count, address.channel)

    def window_s(self, stream: str) -> float:
        """How long an idempotency key of this stream is remembered."""
        history_class, _ = self._names.get(stream, ("", 0))
        options = self._classes.get(history_class)  # None for a late publish to a class that is gone
        return MAX_DUPLICATE_WINDOW_S if options is None else _window_s(options)

    def check_soon(self, stream: str, wait_s: float = 0.0) -> None:
        """Reads the state of a stream that may have been deleted, restored, or made anew.

        Until it was read, its live messages are ignored.
        """
        if stream in self._names:
            self.known.heard(stream).suspend()
            self._reads.start(self._check(stream, wait_s))

    async def _check(self, stream: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        complaint = Complaint()
        while stream in self._names:  # until its class is gone
            try:
                await self.fresh_state(stream)
                break
            except NatsAway:
                await asyncio.sleep(_CHECK_RETRY_S)
            except NatsRefused as error:
                if complaint.due(str(error), asyncio.get_running_loop().time()):
                    log.warning("stream %s cannot be checked: %s", stream, error)
                await asyncio.sleep(_CHECK_RETRY_S)
        if self.known.heard(stream).suspect and self._gates.of(stream) is None:  # otherwise opening it resumes it
            self.resume(stream)

    def read_limits_soon(self, stream: str) -> None:
        """Others removed something from a stream, or changed its limits: reads its state. Live messages go on."""
        if stream in self._names:
            self.limits.doubt(stream)
            if not self.known.in_doubt(stream):  # otherwise it is being read already, until that succeeds
                self._reads.start(self._read_limits(stream))

    async def _read_limits(self, stream: str) -> None:
        try:
            await self.fresh_state(stream)
        except (NatsAway, NatsRefused) as error:  # it is read again after a reconnect, or for its next mark
            log.debug("stream %s cannot be read: %s", stream, error)

    async def fresh_state(self, stream: str) -> LogState:
        """The state of a stream, read after the call. A stream that fell back or is gone gets a new epoch.

        Calls that come while a read is in progress share the next one: thousands of channels may be opened at once.
        """
        read = self._next_reads.get(stream)
        if read is None:
            read = self._next_reads[stream] = self._reads.start(self._read_next(stream))
            read.add_done_callback(_take_error)
        return await asyncio.shield(read)

    async def _read_next(self, stream: str) -> LogState:
        async with self._reading.setdefault(stream, asyncio.Lock()):
            del self._next_reads[stream]  # calls from now on need a later one
            opened = self._gates.opened(stream)
            try:
                state = await self._read_state(stream)
            except NatsAway as error:
                # Otherwise the request did not reach NATS, or the stream has answered another check meanwhile.
                if self._link.is_connected and opened == self._gates.opened(stream):
                    self.unanswered.add(stream)
                    self._gates.shut(stream, error)
                raise
            self._answered(stream, self.known.state(stream))
            return state

    async def _ask(self, stream: str) -> StreamState | None:
        timeout_s = CHECK_TIMEOUT_S if self._gates.doubts(stream) else API_TIMEOUT_S
        return await ask_again(lambda: stream_state(self._link, stream), timeout_s)

    async def _read_state(self, stream: str) -> LogState:
        # Taken before the request: if an acknowledgement overtakes the answer, the stream must not seem to be behind.
        known, doubts = self._known_of(stream), self.limits.of(stream).doubts
        state = await self._ask(stream)
        if state is None or not state.epoch:  # it was deleted, or made again by somebody else: it is another log
            if stream not in self._names:
                raise NatsRefused(f"stream {stream} is gone, and no namespace uses it")
            log.error("stream %s is gone: a new one takes its place, and a new epoch begins", stream)
            history_class, partition = self._names[stream]
            count = self._partitions[history_class]
            state = await self._ensure_partition(history_class, partition, count)
        else:
            state = await self.guard.judge(stream, state, known)
        self._note(stream, state, doubts)
        return LogState(state.epoch, state.first, state.last, state.limit, state.raised_at, state.max_bytes)

    def _note(self, stream: str, state: StreamState, doubts: int) -> None:
        before = self.known.note(stream, state)
        self.limits.note(stream, state, doubts)
        if before != state.epoch:
            self.indexes.renew(stream, state)
            if before is not None and self._gates.of(stream) is None:  # otherwise opening it resumes it
                self.resume(stream)

    def compare_all(self) -> None:
        """The marks have become known: compares all streams with them. Live messages go on meanwhile."""
        for stream in self._checked:
            self.compare(stream)

    def compare(self, stream: str) -> None:
        """Something has changed, which need not mean that the stream is another one: reads its state."""
        if stream in self._checked and self._gates.of(stream) is None:
            self._reads.start(self._read_limits(stream))

    def resume(self, stream: str) -> None:
        """Takes live messages of a stream, or of the one that has taken its place, again."""
        self._on_checked(stream)
        self.known.heard(stream).checked(self.known.last_seen(stream))


def _window_s(options: ChannelOptions) -> float:
    return min(MAX_DUPLICATE_WINDOW_S, float(options.history_ttl))


def _take_error(read: asyncio.Task[LogState]) -> None:
    """Retrieves the error: all callers that waited for the read may have given up."""
    if not read.cancelled():
        read.exception()
