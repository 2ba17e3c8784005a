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
from proto.messages import StreamPosition
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import StreamState, stream_state
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import MAX_DUPLICATE_WINDOW_S, ChannelAddress, LogState
from services.edge.broker.channel_subscription import HeardStream
from services.edge.broker.history_classes_nats import HistoryClasses
from services.edge.broker.left_streams_nats import warn_of_left_streams
from services.edge.broker.log_index_nats import LogIndexes
from services.edge.broker.log_limits_nats import LogLimits
from services.edge.broker.log_lineage import LEADERS_KEY, Lineage
from services.edge.broker.rollback_nats import Known, RollbackGuard
from services.edge.broker.stream_marks_nats import Mark, StreamMarks
from services.edge.channel_settings import ChannelOptions

log = logging.getLogger(__name__)

PARTITIONS_KEY: Final = "fairlead-partitions"
MAX_KEYS_BYTES: Final = 256 * 1024 * 1024
"""Idempotency keys, about a million. The oldest go first."""


MARK_INTERVAL_S: Final = 1.0
"""How far behind the others' knowledge of a stream an edge may be."""

_CHECK_RETRY_S: Final = 0.2
_ASK_AGAIN_S: Final = 5.0
"""How often a stream that does not answer is asked. Nobody else may ask for it: its channels may close meanwhile."""
_INDEX_PART: Final = 5
"""The index of a log has one of so many parts of the history's bytes."""


class LogStreams:
    """All streams of one configuration: where channels are, in which epoch, and up to which sequence."""

    def __init__(
        self,
        link: NatsLink,
        classes: dict[str, ChannelOptions],
        partitions: int,
        on_checked: Callable[[str], None] = lambda stream: None,
    ) -> None:
        """`on_checked(stream)`: it has another epoch, or was in doubt and is the same as before. `classes` may change:
        see `HistoryClasses`."""
        self._link = link
        self._on_checked = on_checked
        self._classes = classes
        self._wanted_partitions = partitions
        self._partitions: dict[str, int] = {}
        self._names: dict[str, tuple[str, int]] = {}  # of the streams, each with its class and partition
        self._epochs: dict[str, str] = {}
        self._last_seen: dict[str, int] = {}
        self._heard: dict[str, HeardStream] = {}
        self._reading: dict[str, asyncio.Lock] = {}
        self._next_reads: dict[str, asyncio.Task[LogState]] = {}  # those that have not begun
        self._reads = Tasks()
        self.unanswered: set[str] = set()  # those that did not tell their state when asked last, or have no leader
        self.indexes = LogIndexes(link)
        self.limits = LogLimits()
        self._read: dict[str, StreamState] = {}  # as last read
        self._marks = StreamMarks(link, self._marked)
        self._marking: set[str] = set()  # those whose state is being read for a mark
        self._looked_for_others = False
        self.classes = HistoryClasses(classes, self._ensure_class, self._forget)
        self._guard = RollbackGuard(link, self._marks)

    async def ensure_all(self) -> None:
        """Makes streams that are missing, and changes limits that differ from the configuration."""
        await self._marks.start()
        if not self._looked_for_others:  # before any stream is made, for which these may leave no room
            self._looked_for_others = True
            await warn_of_left_streams(self._link, self._classes)
        for history_class in tuple(self._classes):
            if history_class in self._classes:
                await self._ensure_class(history_class)
        await self._ensure_keys()

    async def _ensure_keys(self) -> None:
        await ensure_stream(
            self._link,
            stream_config(
                subjects.KEYS_STREAM,
                subjects.KEYS_ALL,
                MAX_DUPLICATE_WINDOW_S,
                MAX_DUPLICATE_WINDOW_S,
                max_bytes=MAX_KEYS_BYTES,
                allow_msg_ttl=True,
            ),
        )

    async def _ensure_class(self, history_class: str) -> None:
        count, options = self._wanted_partitions, self._classes[history_class]
        first = await self._ensure_partition(history_class, options, 0, count)
        kept = int(first.metadata.get(PARTITIONS_KEY, self._partitions.get(history_class, count)))
        if kept != count:
            log.warning(
                "namespace %s keeps the %d partitions that its streams were made with; channel.history_partitions = %d "
                "holds for new namespaces only",
                history_class,
                kept,
                count,
            )
        self._partitions[history_class] = kept
        self._names.update({subjects.log_stream(history_class, p): (history_class, p) for p in range(kept)})
        rest = range(1 if kept == count else 0, kept)  # each partition has its share of the bytes
        await asyncio.gather(*(self._ensure_partition(history_class, options, p, kept) for p in rest))

    async def _ensure_partition(
        self, history_class: str, options: ChannelOptions, partition: int, count: int
    ) -> StreamState:
        name = subjects.log_stream(history_class, partition)
        known = self._known(name)
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
        state = await self._guard.judge(name, await stream_state(self._link, name) or made, known)
        self._note(name, state, doubts)
        kept_s, size = float(options.history_meta_ttl), options.history_size
        self.indexes.follow(name, stored, state, kept_s, index_bytes or -1, size, options.replicas)
        return state

    def _forget(self, classes: Collection[str]) -> None:
        for stream in [name for name, (history_class, _) in self._names.items() if history_class in classes]:
            del self._names[stream]
            self.unanswered.discard(stream)
            self.indexes.forget(stream)

    def stop(self) -> None:
        """Cancels reads that are in progress, and leaves marks."""
        self._reads.cancel()
        self.indexes.stop()
        for stream in self._unmarked():
            self._marks.set(stream, self._epochs[stream], self._seen(stream))

    def keep_marking(self) -> None:
        """From now on, marks what has moved on every second."""
        self._reads.start(self._mark_on())

    async def _mark_on(self) -> None:
        while True:
            await asyncio.sleep(MARK_INTERVAL_S)
            for stream in set(self._unmarked()) - self._marking:  # one that is silent delays no other
                self._marking.add(stream)
                self._reads.start(self._mark(stream))

    async def _mark(self, stream: str) -> None:
        try:
            await self.fresh_state(stream)
        except (NatsAway, NatsRefused) as error:
            log.debug("stream %s cannot be marked: %s", stream, error)
        else:
            state = self._read[stream]
            self._marks.set(stream, state.epoch, state.last, state.last_at)
        finally:
            self._marking.discard(stream)

    def _unmarked(self) -> list[str]:
        """The streams of which this edge has seen more than is marked."""
        return [
            stream
            for stream, epoch in self._epochs.items()
            if stream in self._names and self._seen(stream) > self._marked_upto(stream, epoch)
        ]

    def _marked_upto(self, stream: str, epoch: str) -> int:
        mark = self._marks.get(stream)
        return 0 if mark is None or mark.epoch != epoch else mark.sequence

    def _marked(self, stream: str, mark: Mark) -> None:
        """Another edge has marked a stream."""
        if self._epochs.get(stream) == mark.epoch:
            self.seen(stream, mark.sequence)
        else:
            self.check_soon(stream)

    def _seen(self, stream: str) -> int:
        return max(self._last_seen.get(stream, 0), self.heard(stream).upto)

    def _known(self, stream: str) -> Known:
        return Known(self._epochs.get(stream, ""), self._seen(stream), self._marks.get(stream), self.in_doubt(stream))

    def address(self, address: ChannelAddress) -> subjects.LogAddress:
        """The stream and the subjects of a channel's log."""
        return subjects.log_address(address.history_class, self._partitions[address.history_class], address.channel)

    def window_s(self, stream: str) -> float:
        """How long an idempotency key of this stream is remembered."""
        history_class, _ = self._names.get(stream, ("", 0))
        options = self._classes.get(history_class)  # none when the class is gone, for who still publishes to it
        return MAX_DUPLICATE_WINDOW_S if options is None else _window_s(options)

    def epoch(self, stream: str) -> str:
        """The epoch of a stream as last seen."""
        return self._epochs[stream]

    def continued(self, stream: str, position: StreamPosition) -> StreamPosition:
        """The position in the present epoch, if the log of its epoch goes on in it; otherwise as it is."""
        state = self._read[stream]
        if position.epoch and Lineage.of(state.metadata).continues(position.epoch, position.offset):
            return StreamPosition(position.offset, state.epoch)
        return position

    def seen(self, stream: str, sequence: int) -> None:
        """The stream has reached `sequence` at least."""
        self._last_seen[stream] = max(self._last_seen.get(stream, 0), sequence)

    def last_seen(self, stream: str) -> int:
        """The highest sequence that this edge knows the stream to have reached."""
        return self._last_seen.get(stream, 0)

    def heard(self, stream: str) -> HeardStream:
        """How far this edge has heard the stream live."""
        heard = self._heard.get(stream)
        if heard is None:
            heard = self._heard[stream] = HeardStream(lambda: self.check_soon(stream))
        return heard

    def in_doubt(self, stream: str) -> bool:
        """Whether the stream may be another one than before, which is being found out."""
        return stream in self._heard and self._heard[stream].doubtful

    def check_soon(self, stream: str, wait_s: float = 0.0) -> None:
        """Reads the state of a stream, because something says that it was deleted, restored, or made anew.

        Until then nothing of it is taken.
        """
        if stream in self._names:
            self.heard(stream).suspend()
            self._reads.start(self._check(stream, wait_s))

    async def _check(self, stream: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        while True:
            try:
                await self.fresh_state(stream)
                break
            except NatsAway:
                await asyncio.sleep(_CHECK_RETRY_S)
            except NatsRefused as error:
                log.warning("stream %s cannot be checked: %s", stream, error)
                await asyncio.sleep(_CHECK_RETRY_S)
        if self.heard(stream).doubtful:
            self._resume(stream)

    def read_limits_soon(self, stream: str) -> None:
        """Others removed something from a stream, or changed its limits: reads its state. Live messages go on."""
        if stream in self._names:
            self.limits.doubt(stream)
            if not self.in_doubt(stream):  # otherwise it is being read, until that succeeds
                self._reads.start(self._read_limits(stream))

    async def _read_limits(self, stream: str) -> None:
        try:
            await self.fresh_state(stream)
        except (NatsAway, NatsRefused) as error:  # after a reconnect, or to mark it, it is read again
            log.debug("stream %s cannot be read: %s", stream, error)

    async def make_again(self, stream: str) -> None:
        """Makes a stream again that does not answer, if it is missing. Raises `NatsAway`, `NatsRefused`."""
        if stream in self._names:
            await self.fresh_state(stream)
        else:
            await self._ensure_keys()

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
            try:
                state = await self._read_state(stream)
            except NatsAway:
                if self._link.is_connected:  # otherwise nobody was asked
                    self._keep_asking(stream)
                raise
            if self._read[stream].has_majority:
                self.unanswered.discard(stream)
            else:
                self._keep_asking(stream)
            return state

    def _keep_asking(self, stream: str) -> None:
        if stream not in self.unanswered:
            self.unanswered.add(stream)
            self._reads.start(self._ask_until_answered(stream))

    async def _ask_until_answered(self, stream: str) -> None:
        while stream in self.unanswered:
            await asyncio.sleep(_ASK_AGAIN_S)
            try:
                await self.fresh_state(stream)
            except (NatsAway, NatsRefused) as error:
                log.debug("stream %s does not answer yet: %s", stream, error)

    async def _read_state(self, stream: str) -> LogState:
        # Taken before the request: an acknowledgement that comes while the answer travels does not mean that it fell.
        known, doubts = self._known(stream), self.limits.of(stream).doubts
        state = await stream_state(self._link, stream)
        if state is None or not state.epoch:  # it was deleted, or made again by somebody else: it is another log
            if stream not in self._names:
                raise NatsRefused(f"stream {stream} is gone, and no namespace has it")
            log.error("stream %s is gone: a new one takes its place, and a new epoch begins", stream)
            history_class, partition = self._names[stream]
            count = self._partitions[history_class]
            state = await self._ensure_partition(history_class, self._classes[history_class], partition, count)
        else:
            state = await self._guard.judge(stream, state, known)
        self._note(stream, state, doubts)
        return LogState(state.epoch, state.first, state.last, state.limit, state.raised_at, state.max_bytes)

    def _note(self, stream: str, state: StreamState, doubts: int) -> None:
        known = self._epochs.get(stream)
        self._read[stream] = state
        self.limits.note(stream, state, doubts)
        if known != state.epoch:
            self._epochs[stream] = state.epoch
            self.indexes.renew(stream, state)
            self._last_seen[stream] = state.last
            if known is not None:
                self._resume(stream)
        else:
            self._last_seen[stream] = max(self._last_seen.get(stream, 0), state.last)

    def _resume(self, stream: str) -> None:
        """Takes live messages of a stream again, or of what has taken its place."""
        self._on_checked(stream)
        self.heard(stream).checked(self._last_seen[stream])


def _window_s(options: ChannelOptions) -> float:
    return min(MAX_DUPLICATE_WINDOW_S, float(options.history_ttl))


def _take_error(read: asyncio.Task[LogState]) -> None:
    """All who waited for it may have given up."""
    if not read.cancelled():
        read.exception()
