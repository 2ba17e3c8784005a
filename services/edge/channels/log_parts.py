"""Parts of channels' logs, each read once for all clients that need it: those that reconnect, and those that were slow.

A client that catches up holds nothing but its position. It takes the part that follows, writes it, and comes back for
the next one. A part is read when the first client needs it, and kept for clients that come a moment later, together
with the frames that were made from it. Parts of a channel do not overlap, and end at the same places for all clients,
wherever a client starts: from its second part on it shares everything with the others.

Sequences are never reused in an epoch, so a part stays valid, except that publications removed since must not be handed
out any more. For a client that subscribes, the log must therefore prove its position first (`proven`), however much of
the log is kept here.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from proto.messages import Publication
from proto.publications import size_of
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import Broker, BrokerAway, LogEntry
from services.edge.channels.channel import Channel
from services.edge.channels.encoding import EncodedPushes, as_wholes, encode_publications
from services.edge.channels.recovery import Continuation, read_after
from services.edge.channels.shared_task import NextRuns, retrieved
from services.edge.framing.formats import Format
from services.edge.tally import Tally

PART_BYTES: Final = 64 * 1024
"""Publications of one part, give or take one: a part is one frame, and a slow client may have one part waiting beyond
the limit of its socket."""

KEPT_BYTES: Final = 32 * 1024 * 1024
"""Publications and frames of all parts. The least recently used part goes first, and is read again if it is needed."""

KEPT_S: Final = 15.0
"""How long an unused part is kept. A storm of reconnects needs it for seconds."""

_OVERHEAD_BYTES: Final = 1024
"""Approximate size of a part besides its publications and frames."""

_PROOF_ENTRIES: Final = 3
"""Entries that are read for a proof: the one at the position, a mark that it was removed, and the next one."""


class Part:
    """All publications of a channel after `start` up to `upto`, oldest first.

    `removed`: a mark in it says that the history up to this sequence was removed; 0 if there is none.
    """

    __slots__ = ("_frames", "counted", "publications", "removed", "size", "start", "upto", "used_at")

    def __init__(self, start: int, upto: int, publications: list[Publication], removed: int = 0) -> None:
        self.start = start
        self.upto = upto
        self.publications = publications
        self.removed = removed
        self.size = _OVERHEAD_BYTES + sum(map(size_of, publications))  # grows by the frames that are made
        self.counted = 0  # how much of `size` `LogParts` has counted
        self.used_at = 0.0
        self._frames: dict[tuple[Format, bool], EncodedPushes] = {}

    def between(self, start: int, upto: int) -> Part:
        """Its publications after `start` up to `upto`, as a part; the part itself if these are all."""
        if start <= self.start and upto >= self.upto:
            return self
        inside = [publication for publication in self.publications if start < publication.offset <= upto]
        return Part(max(start, self.start), min(upto, self.upto), inside, self.removed)

    def pushes(self, format: Format, channel: str, delta: bool) -> EncodedPushes:
        """Its publications as pushes, in one frame that is made once for all clients of a kind. `delta`: in the form in
        which SDKs with deltas expect whole publications."""
        kind = (format, delta)
        found = self._frames.get(kind)
        if found is None:
            publications = as_wholes(format, self.publications) if delta else self.publications
            found = self._frames[kind] = encode_publications(format, channel, publications)
            self.size += len(found.framed)
        return found


class _Log:
    """The parts of one channel's log in one epoch. `reading` is the read in progress, from `reading_from` on."""

    __slots__ = ("parts", "reading", "reading_from")

    def __init__(self) -> None:
        self.parts: list[Part] = []  # sorted by start, without overlaps
        self.reading: asyncio.Task[bool] | None = None
        self.reading_from = 0

    def find(self, offset: int) -> Part | None:
        """The part that continues after `offset`."""
        place = bisect.bisect_right(self.parts, offset, key=lambda part: part.start) - 1
        if place < 0 or self.parts[place].upto <= offset:
            return None
        return self.parts[place]

    def next_start(self, offset: int) -> int | None:
        """Where the next part after `offset` begins."""
        place = bisect.bisect_right(self.parts, offset, key=lambda part: part.start)
        return self.parts[place].start if place < len(self.parts) else None


_Key = tuple[str, str, int]  # a channel, the epoch of its log, and how often others removed something from its stream


class LogParts:
    """The parts of all channels, within `KEPT_BYTES`. `kept_bytes` is their present size."""

    def __init__(self, broker: Broker, tally: Tally) -> None:
        self._broker = broker
        self._tally = tally
        self._logs: dict[_Key, _Log] = {}
        self._kept: OrderedDict[Part, _Key] = OrderedDict()  # the least recently used first
        self.kept_bytes = 0
        self._tasks = Tasks()
        self._proofs: NextRuns[tuple[_Key, int], Continuation] = NextRuns(self._tasks)
        self._sweep_timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Cancels reads that are in progress, and forgets everything."""
        self._tasks.cancel()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()

    async def proven(self, channel: Channel, epoch: str, offset: int) -> bool:
        """Whether nothing after `offset` was removed, by a proof that is read after the call. Raises `BrokerAway`.

        Clients that come back to the same position share a proof if its read began after they came.
        """

        async def read() -> Continuation:
            self._tally.log_reads += 1
            return await read_after(self._broker, channel, epoch, offset, _PROOF_ENTRIES, thorough=True)

        return (await self._proofs.do((self._key(channel, epoch), offset), read)).whole

    def _key(self, channel: Channel, epoch: str) -> _Key:
        return channel.name, epoch, self._broker.index.retained(channel.address).doubts

    def ring_after(self, channel: Channel, offset: int) -> list[Publication] | None:
        """The ring's publications after `offset`; None if it does not reach back, or others may have removed some."""
        assert channel.log is not None
        since = self._broker.index.retained(channel.address).since
        return channel.log.after(offset) if offset >= min(since, channel.log.last) else None

    def known(self, channel: Channel, epoch: str, offset: int) -> Part | None:
        """The part that continues after `offset`, if it is kept."""
        log = self._logs.get(self._key(channel, epoch))
        part = None if log is None else log.find(offset)
        if part is None:
            return None
        self._tally.log_parts_shared += 1
        self._count(part)
        self._kept.move_to_end(part)
        return part

    async def read(self, channel: Channel, epoch: str, offset: int) -> bool:
        """Reads the log after `offset`, so that `known` finds a part there. False if entries there were evicted.

        Only one read of a channel is in progress at a time, and another one may have come first: call `known` again
        when it returns. Raises `BrokerAway`.
        """
        key = self._key(channel, epoch)
        log = self._logs.setdefault(key, _Log())
        reading = log.reading
        if reading is None:
            reading = log.reading = self._tasks.start(self._read(channel, key, log, offset))
            reading.add_done_callback(retrieved)
            log.reading_from = offset
        mine = log.reading_from == offset
        await asyncio.wait([reading])
        if reading.cancelled():
            raise BrokerAway("this edge stops")
        return reading.result() or not mine

    async def _read(self, channel: Channel, key: _Key, log: _Log, offset: int) -> bool:
        channel_log, (_, epoch, _) = channel.log, key
        assert channel_log is not None
        mark = channel_log.last
        self._tally.log_reads += 1
        try:
            read = await read_after(self._broker, channel, epoch, offset)
        finally:
            log.reading = None
            if not log.parts:
                self._logs.pop(key, None)
        if not read.whole or channel_log.epoch != epoch:
            return False
        upto = read.entries[-1].sequence if read.entries else offset
        if not read.more and self.ring_after(channel, upto) is None:
            # Everything up to the mark was in the log when it was read, so the mark is reached even without an entry.
            upto = max(upto, mark)
        if upto > offset:  # otherwise the ring has what follows by now
            self._keep(key, offset, upto, read.entries)
        return True

    def _keep(self, key: _Key, start: int, upto: int, entries: list[LogEntry]) -> None:
        log = self._logs.setdefault(key, _Log())
        next_start = log.next_start(start)
        if next_start is not None and next_start < upto:  # from there on the log is kept already
            entries, upto = [entry for entry in entries if entry.sequence <= next_start], next_start
        for part in cut(start, upto, entries):
            self._count(part)
            bisect.insort(log.parts, part, key=lambda each: each.start)
            self._kept[part] = key
        while self.kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._drop_oldest()
        if self._sweep_timer is None and self._kept:
            self._sweep_timer = asyncio.get_running_loop().call_later(KEPT_S, self._sweep)

    def _count(self, part: Part) -> None:
        """The part is used now. It may have got frames since it was counted last."""
        part.used_at = asyncio.get_running_loop().time()
        self.kept_bytes += part.size - part.counted
        part.counted = part.size

    def _drop_oldest(self) -> None:
        part, key = self._kept.popitem(last=False)
        self.kept_bytes -= part.counted
        log = self._logs[key]
        log.parts.remove(part)
        if not log.parts and log.reading is None:
            del self._logs[key]

    def _sweep(self) -> None:
        long_ago = asyncio.get_running_loop().time() - KEPT_S
        while self._kept and next(iter(self._kept)).used_at <= long_ago:
            self._drop_oldest()
        self._sweep_timer = asyncio.get_running_loop().call_later(KEPT_S, self._sweep) if self._kept else None


def cut(start: int, upto: int, entries: list[LogEntry]) -> Iterator[Part]:
    """Cuts the entries of a log after `start` up to `upto` into parts."""
    publications: list[Publication] = []
    size = removed = 0
    for entry in entries:
        if size >= PART_BYTES:
            before = publications[-1].offset
            yield Part(start, before, publications, removed)
            start, publications, size, removed = before, [], 0, 0
        removed = max(removed, entry.removed_upto)
        if entry.publication is not None:
            publications.append(entry.publication)
            size += size_of(entry.publication)
    yield Part(start, upto, publications, removed)
