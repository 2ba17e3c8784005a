"""The logs of all channels in the memory of one process, for `broker_memory`.

Bounded: each channel by its namespace's `history_size` and `history_ttl`, and all channels of a namespace together by
`history_max_bytes` and `MAX_LOG_BYTES`. The oldest entries go first.
"""

from __future__ import annotations

import bisect
import math
import secrets
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Set
from typing import Final, Protocol

from msgspec.structs import replace

from proto.messages import Publication, StreamPosition
from proto.publications import LiveMessage, Version, size_of
from proto.trace_context import TraceContext
from services.chassis.tracing.span import active_context
from services.edge.broker.broker import (
    INDEXED_ENTRIES,
    MAX_DUPLICATE_WINDOW_S,
    BrokerRefused,
    ChannelAddress,
    Indexed,
    LogEntry,
)
from services.edge.channel_settings import ChannelOptions

MAX_LOG_BYTES: Final = 128 * 1024 * 1024
"""Limit for the publications of all channels of one namespace."""
INDEXED_CHANNELS: Final = 20_000
"""Channels of one namespace whose sequences are known for longer than their publications are kept."""
MAX_KEYS: Final = 100_000
"""Idempotency keys of one namespace with history, and of all channels without history together."""


class Receiver(Protocol):
    """A broker, as the logs see it."""

    def receive_live(self, address: ChannelAddress, message: LiveMessage) -> None:
        """A message of a channel with history."""

    def receive_ephemeral(
        self, address: ChannelAddress, publication: Publication, published_at: float, trace: TraceContext | None
    ) -> None:
        """A publication of a channel without history."""


class _Keys:
    """Idempotency keys, each with the sequence of its publication; forgotten after `window_s`, the oldest first."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def get(self, key: str, now: float) -> int | None:
        """The sequence of a key that is known."""
        while self._known and next(iter(self._known.values()))[1] <= now - self._window_s:
            self._known.popitem(last=False)
        found = self._known.get(key)
        return None if found is None else found[0]

    def add(self, key: str, sequence: int, now: float) -> None:
        self._known[key] = sequence, now
        if len(self._known) > MAX_KEYS:
            self._known.popitem(last=False)


class MemoryIndex:
    """The sequences of the newest entries of each channel, including evicted entries.

    It knows the `INDEXED_CHANNELS` channels that were used last, with `INDEXED_ENTRIES` or `size` + 1 entries each.
    """

    def __init__(self, size: int) -> None:
        self._size = max(INDEXED_ENTRIES, size + 1)
        self._known: OrderedDict[str, deque[int]] = OrderedDict()
        self._complete_from = 0  # for channels that are not known: nothing is missing after this sequence

    def add(self, channel: str, entry: LogEntry) -> None:
        """The channel has a further entry. Removal marks are left out."""
        if entry.removed_upto:
            return
        self._known.setdefault(channel, deque(maxlen=self._size)).append(entry.sequence)
        self._known.move_to_end(channel)
        if len(self._known) > INDEXED_CHANNELS:
            _, forgotten = self._known.popitem(last=False)
            self._complete_from = max(self._complete_from, forgotten[-1])

    def after(self, channel: str, offset: int, upto: int, named_upto: int) -> Indexed | None:
        """See `LogIndex.after`; the index has read the log up to `upto`."""
        known = self._known.get(channel, ())
        after = [sequence for sequence in known if sequence > offset]
        if len(after) == len(known) and offset < self._complete_from:
            return None
        named = frozenset(sequence for sequence in after if sequence <= named_upto)
        return Indexed(after[0] if after else 0, len(after), upto, whole=len(after) < self._size, named=named)


class MemoryLog:
    """The log of one history class, like a stream of JetStream. Each access evicts first."""

    def __init__(self, options: ChannelOptions, epoch: str) -> None:
        self.options = options
        self.epoch = epoch
        self.last = 0
        self.keys = _Keys(min(MAX_DUPLICATE_WINDOW_S, options.history_ttl))
        self.versions: dict[int, Version] = {}
        self.ids: dict[int, str] = {}
        self.index = MemoryIndex(options.history_size)
        self.max_bytes = _max_bytes(options)
        self._bytes = 0
        self._stored: OrderedDict[int, tuple[str, float]] = OrderedDict()  # sequence: channel, stored at; oldest first
        self._channels: defaultdict[str, list[LogEntry]] = defaultdict(list)  # oldest first

    def keeps_like(self, options: ChannelOptions) -> bool:
        """Whether it keeps as many entries of a channel, and for as long, as with these options."""
        mine = self.options
        return (mine.history_size, mine.history_ttl) == (options.history_size, options.history_ttl)

    def change(self, options: ChannelOptions) -> None:
        """Replaces the options. The log `keeps_like` these."""
        self.options, self.max_bytes = options, _max_bytes(options)

    def of(self, channel: str) -> list[LogEntry]:
        """The entries of a channel, oldest first."""
        return self._channels.get(channel, [])

    def since(self, channel: str, at: float) -> list[LogEntry]:
        """The entries of a channel that were stored at `at` or later."""
        return [entry for entry in self.of(channel) if self._stored[entry.sequence][1] >= at]

    def newest(self, channel: str) -> int:
        """The sequence of the channel's newest entry, 0 if it has none."""
        mine = self.of(channel)
        return mine[-1].sequence if mine else 0

    @property
    def first(self) -> int:
        """The sequence of the oldest entry of all channels, or of the next one if there is none."""
        return next(iter(self._stored), self.last + 1)

    def reaches_to(self, at: float) -> bool:
        """Whether the oldest entry is older than `at`, or is the first entry of the log."""
        sequence, (_, stored_at) = next(iter(self._stored.items()), (self.last + 1, ("", math.inf)))
        return sequence == 1 or stored_at <= at

    def refuses(self, channel: str, size: int) -> bool:
        """Whether the log refuses `size` bytes: no room is left, counting what the channel's own oldest entry frees."""
        mine = self.of(channel)
        freed = bytes_of(mine[0]) if len(mine) >= self.options.history_size else 0
        return self.options.history_when_full == "refuse" and self._bytes + size - freed > self.max_bytes

    def append(self, channel: str, entry: LogEntry, now: float) -> None:
        """Stores the channel's next entry, and evicts entries beyond the limits."""
        mine = self._channels[channel]
        mine.append(entry)
        self.index.add(channel, entry)
        self.last = entry.sequence
        self._stored[entry.sequence] = channel, now
        self._bytes += bytes_of(entry)
        self._drop(channel, len(mine) - self.options.history_size)
        while self._bytes > self.max_bytes:
            self._drop_oldest()

    def evict(self, now: float) -> None:
        """Drops the entries that are too old. They are the oldest ones, as the whole class has one time to live."""
        old = now - self.options.history_ttl
        while self._stored and next(iter(self._stored.values()))[1] <= old:
            self._drop_oldest()

    def remove(self, channel: str, upto: int) -> None:
        """Drops the channel's entries up to the sequence `upto`."""
        mine = self.of(channel)
        self._drop(channel, bisect.bisect_right([entry.sequence for entry in mine], upto))

    def _drop_oldest(self) -> None:
        channel, _ = next(iter(self._stored.values()))
        self._drop(channel, 1)

    def _drop(self, channel: str, count: int) -> None:
        mine = self._channels[channel]
        for entry in mine[: max(count, 0)]:
            del self._stored[entry.sequence]
            self.versions.pop(entry.sequence, None)
            self.ids.pop(entry.sequence, None)
            self._bytes -= bytes_of(entry)
        del mine[: max(count, 0)]
        if not mine:
            del self._channels[channel]


def _max_bytes(options: ChannelOptions) -> int:
    return min(options.history_max_bytes or MAX_LOG_BYTES, MAX_LOG_BYTES)


def bytes_of(entry: LogEntry) -> int:
    """The size of an entry."""
    return 0 if entry.publication is None else size_of(entry.publication)


def new_epoch() -> str:
    """Random, so that positions of an earlier process mean nothing to this one."""
    return secrets.token_hex(4)


class MemoryLogs:
    """The logs of all history classes. `now` is any clock in seconds that does not go back; ages are measured by it."""

    def __init__(
        self, classes: dict[str, ChannelOptions], now: Callable[[], float], epochs: Callable[[], str] = new_epoch
    ) -> None:
        self.now = now
        self.receivers: list[Receiver] = []
        self._epochs = epochs
        self._gone: Set[str] = frozenset()
        self.logs = {history_class: MemoryLog(options, epochs()) for history_class, options in classes.items()}
        self._keys = _Keys(MAX_DUPLICATE_WINDOW_S)

    def adopt(self, classes: dict[str, ChannelOptions]) -> bool:
        """Replaces the classes by these. Returns whether a log has begun anew.

        A log begins anew if its `history_size` or `history_ttl` changes, as nobody knows then what was evicted by the
        old limits. The log of a class that is gone is emptied, and stays for channels that are about to be closed.
        """
        anew = False
        for history_class, options in classes.items():
            log = self.logs.get(history_class)
            if log is not None and history_class not in self._gone and log.keeps_like(options):
                log.change(options)
            else:
                self.logs[history_class] = MemoryLog(options, self._epochs())
                anew = anew or log is not None
        gone = self.logs.keys() - classes.keys()
        for history_class in gone - self._gone:
            left = self.logs[history_class]
            self.logs[history_class] = MemoryLog(left.options, left.epoch)
        self._gone = gone
        return anew

    def log(self, history_class: str) -> MemoryLog:
        """The log of a class, without entries that are too old."""
        log = self.logs[history_class]
        log.evict(self.now())
        return log

    def store(
        self, address: ChannelAddress, publication: Publication, message_id: str, version: Version | None
    ) -> StreamPosition:
        """Stores a publication, and sends it to the brokers. Returns its position, or the position of the publication
        that made it superfluous."""
        log, now = self.log(address.history_class), self.now()
        if message_id and (known := log.keys.get(message_id, now)) is not None:
            return StreamPosition(known, log.epoch)
        mine = log.of(address.channel)
        if version is not None and mine and not version.is_newer_than(log.versions.get(mine[-1].sequence)):
            return StreamPosition(mine[-1].sequence, log.epoch)
        if log.refuses(address.channel, size_of(publication)):
            raise BrokerRefused("the namespace's history_max_bytes are used up", "full")
        number = log.last + 1
        if message_id:
            log.keys.add(message_id, number, now)
            log.ids[number] = message_id
        if version is not None:
            log.versions[number] = version
        entry = LogEntry(number, replace(publication, offset=number), 0, now, active_context())
        self._append(log, address, entry)
        return StreamPosition(number, log.epoch)

    def remove(self, address: ChannelAddress) -> None:
        """Removes the history of a channel, and leaves a removal mark."""
        log = self.log(address.history_class)
        mine = log.of(address.channel)
        if mine and not mine[-1].removed_upto:
            upto = mine[-1].sequence
            self._append(log, address, LogEntry(log.last + 1, None, upto))
            log.remove(address.channel, upto)

    def _append(self, log: MemoryLog, address: ChannelAddress, entry: LogEntry) -> None:
        previous = log.newest(address.channel)
        log.append(address.channel, entry, self.now())
        for receiver in self.receivers:
            message = LiveMessage(
                entry.sequence, previous, entry.publication, entry.removed_upto, entry.published_at, entry.trace
            )
            receiver.receive_live(address, message)

    def send(self, address: ChannelAddress, publication: Publication, message_id: str) -> None:
        """Sends a publication to the brokers without storing it, once for each id."""
        now = self.now()
        if message_id:
            if self._keys.get(message_id, now) is not None:
                return
            self._keys.add(message_id, 0, now)
        for receiver in self.receivers:
            if address.history_class:
                receiver.receive_live(address, LiveMessage(0, 0, publication, 0, now, active_context()))
            else:
                receiver.receive_ephemeral(address, publication, now, active_context())
