"""The streams behind the channels with history: made by whoever comes first, checked by the rest, known by their epoch.

One stream holds one partition of one history class, keeps `history_size` messages a channel for `history_ttl`, and
republishes what it has stored to the subject that edges listen on. The number of partitions decides which stream a
channel is in, so the first maker's number is kept in the streams' metadata and wins over later configurations: two
edges must never disagree on it.

Raises `NatsAway` and `NatsRefused` as they come: `broker_nats` translates them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.nats.streams import StreamState, ensure_stream, renew_epoch, stream_config, stream_state
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import MAX_DUPLICATE_WINDOW_S, ChannelAddress, LogState
from services.edge.settings import ChannelOptions

log = logging.getLogger(__name__)

PARTITIONS_KEY: Final = "fairlead-partitions"
MAX_KEYS_BYTES: Final = 256 * 1024 * 1024
"""Of idempotency keys of channels without history; the oldest go first. About a million of them."""


class LogStreams:
    """See the module."""

    def __init__(self, link: NatsLink, classes: dict[str, ChannelOptions], partitions: int) -> None:
        self._link = link
        self._classes = classes
        self._wanted_partitions = partitions
        self._partitions: dict[str, int] = {}
        self._epochs: dict[str, str] = {}
        self._last_seen: dict[str, int] = {}
        self._reading: dict[str, asyncio.Lock] = {}
        self._next_reads: dict[str, asyncio.Task[LogState]] = {}  # those that have not begun
        self._reads = Tasks()

    async def ensure_all(self) -> None:
        """Makes what is missing, changes limits that differ."""
        for history_class, options in self._classes.items():
            await self._ensure_class(history_class, options)
        await ensure_stream(
            self._link,
            stream_config(
                subjects.KEYS_STREAM,
                subjects.KEYS_ALL,
                MAX_DUPLICATE_WINDOW_S,
                MAX_DUPLICATE_WINDOW_S,
                max_bytes=MAX_KEYS_BYTES,
            ),
        )

    async def _ensure_class(self, history_class: str, options: ChannelOptions) -> None:
        count = self._wanted_partitions
        first = await self._ensure_partition(history_class, options, 0, count)
        kept = int(first.metadata.get(PARTITIONS_KEY, count))
        if kept != count:
            log.warning(
                "namespace %s: its streams were made with %d partitions, which are kept; channel.history_partitions "
                "says %d and holds for new namespaces only",
                history_class,
                kept,
                count,
            )
        self._partitions[history_class] = kept
        await asyncio.gather(*(self._ensure_partition(history_class, options, p, kept) for p in range(1, kept)))

    async def _ensure_partition(
        self, history_class: str, options: ChannelOptions, partition: int, count: int
    ) -> StreamState:
        name = subjects.log_stream(history_class, partition)
        stored, live = subjects.log_subjects(history_class, partition)
        state = await ensure_stream(
            self._link,
            stream_config(
                name,
                stored,
                float(options.history_ttl),
                min(MAX_DUPLICATE_WINDOW_S, float(options.history_ttl)),
                max_msgs_per_subject=options.history_size,
                republish_to=live,
                metadata={PARTITIONS_KEY: str(count)},
            ),
        )
        self._note(name, state)
        return state

    def stop(self) -> None:
        """Ends what is under way."""
        self._reads.cancel()

    def address(self, address: ChannelAddress) -> subjects.LogAddress:
        """Where the log of a channel is."""
        return subjects.log_address(address.history_class, self._partitions[address.history_class], address.channel)

    def epoch(self, stream: str) -> str:
        """The epoch of a stream as last seen."""
        return self._epochs[stream]

    def seen(self, stream: str, sequence: int) -> None:
        """The stream has come to `sequence` at least."""
        self._last_seen[stream] = max(self._last_seen.get(stream, 0), sequence)

    async def fresh_state(self, stream: str) -> LogState:
        """The state of a stream, not older than the call. A stream that fell or is gone gets a new epoch.

        All who ask while one read is under way share the next one: thousands of channels that are opened at once ask.
        """
        read = self._next_reads.get(stream)
        if read is None:
            read = self._next_reads[stream] = self._reads.start(self._read_next(stream))
        return await asyncio.shield(read)

    async def _read_next(self, stream: str) -> LogState:
        async with self._reading.setdefault(stream, asyncio.Lock()):
            del self._next_reads[stream]  # whoever asks from now on needs a later one
            return await self._read_state(stream)

    async def _read_state(self, stream: str) -> LogState:
        # Read before the question: what is acknowledged while the answer travels is no sign that the stream fell.
        epoch, seen = self._epochs.get(stream), self._last_seen.get(stream, 0)
        state = await stream_state(self._link, stream)
        if state is None:  # somebody deleted it: made anew, it is another log
            await self._ensure_missing(stream)
            state = await stream_state(self._link, stream)
            if state is None:
                raise NatsAway(f"stream {stream} cannot be made")
        if state.epoch == epoch and state.last < seen:
            log.error("stream %s fell from %d to %d: a new epoch begins", stream, seen, state.last)
            state = await renew_epoch(self._link, stream)
        self._note(stream, state)
        return LogState(state.epoch, state.first, state.last)

    async def _ensure_missing(self, stream: str) -> None:
        for history_class, options in self._classes.items():
            for partition in range(self._partitions[history_class]):
                if subjects.log_stream(history_class, partition) == stream:
                    await self._ensure_partition(history_class, options, partition, self._partitions[history_class])

    def _note(self, stream: str, state: StreamState) -> None:
        if self._epochs.get(stream) != state.epoch:
            self._epochs[stream] = state.epoch
            self._last_seen[stream] = state.last
        else:
            self._last_seen[stream] = max(self._last_seen.get(stream, 0), state.last)
