"""An edge's copy of one channel's log: its position, the newest publications, and the position rule. Pure.

This is the heart of "no loss, no duplicate, in order". `last` is the sequence that the copy has reached: everything up
to it was handed to the fan-out. Subscribers are behind it while publications are pending (`Subscribers`). A live
message carries its own sequence and that of its predecessor in the channel:

    sequence <= last        known already: drop
    syncing                 buffer
    previous <= last        its predecessor is known: deliver, last = sequence
    otherwise               something in between is missing: buffer, and sync

Never test for `previous == last`: after an eviction `previous` is 0. A *sync* reads the log from last + 1 to its end
and passes every entry to `admit`, then drains the buffer, with no await between the two.
"""

from __future__ import annotations

import math
from typing import Final

from proto.messages import Publication
from proto.publications import LiveMessage, size_of

RING_PUBLICATIONS: Final = 128
RING_BYTES: Final = 64 * 1024
"""For the answers to a reconnect storm: a few seconds of a busy channel. Older publications are read from the log."""

BUFFER_MESSAGES: Final = 4096
BUFFER_BYTES: Final = 1024 * 1024
"""Live messages that are held while syncing. Further ones are dropped: the sync reads them from the log anyway."""


class Rings:
    """Counts what the rings of all channels hold together, so that metrics need not walk them."""

    __slots__ = ("total_bytes",)

    def __init__(self) -> None:
        self.total_bytes = 0


class ChannelLog:
    """The position of a channel and the ring of its newest publications. Syncing, until `start` gives the position.

    `floor` is the offset after which the ring is complete, up to `last`; `before` is what `last` was before it reached
    its present value. `removed`: the history up to this sequence was removed.
    """

    __slots__ = (
        "_buffer",
        "_buffer_bytes",
        "_overflow",
        "_ring",
        "_ring_bytes",
        "_rings",
        "_since",
        "before",
        "epoch",
        "floor",
        "last",
        "removed",
        "syncing",
    )

    def __init__(self, rings: Rings | None = None) -> None:
        self._rings = rings or Rings()
        self.epoch = ""
        self.last = 0
        self.before = 0
        self.floor = 0
        self.removed = 0
        self.syncing = True
        self._ring: list[Publication] = []  # it is short, and an empty deque would take 600 bytes in each channel
        self._since: list[float] = []  # for each publication in the ring, when it was stored at the earliest
        self._ring_bytes = 0
        self._buffer: list[LiveMessage] = []
        self._buffer_bytes = 0
        self._overflow = False

    def start(self, epoch: str, last: int) -> None:
        """The log is at `last` in `epoch`; everything known of another epoch is forgotten. Still syncing."""
        self.epoch = epoch
        self.last = self.floor = last
        self.removed = 0
        self._clear_ring()
        self._buffer = [message for message in self._buffer if message.sequence > last]
        self._buffer_bytes = sum(map(_size, self._buffer))
        self.syncing = True

    def accept(self, message: LiveMessage) -> bool:
        """The position rule. True: call `admit`, then deliver. False: the message is known or was buffered; see
        `needs_sync`."""
        if message.sequence <= self.last:
            return False
        if not self.syncing and message.previous <= self.last:
            return True
        size = _size(message)
        if len(self._buffer) < BUFFER_MESSAGES and self._buffer_bytes + size <= BUFFER_BYTES:
            self._buffer.append(message)
            self._buffer_bytes += size
        else:
            self._overflow = True
        return False

    @property
    def needs_sync(self) -> bool:
        """Whether something is missing and no sync has begun."""
        return not self.syncing and (bool(self._buffer) or self._overflow)

    def admit(self, sequence: int, publication: Publication | None, at: float | None = None) -> bool:
        """Moves on to the next entry of the log; False if it is known already.

        `publication` is None for an entry that is not a publication. `at` is the time at which it came live, in seconds
        of any clock; None for an entry that was read, which may have been stored at any time since its predecessor
        came.
        """
        if sequence <= self.last:
            return False
        self.before, self.last = self.last, sequence
        if publication is not None:
            self._ring.append(publication)
            self._since.append(at if at is not None else self._since[-1] if self._since else -math.inf)
            before = self._ring_bytes
            self._ring_bytes += size_of(publication)
            while len(self._ring) > RING_PUBLICATIONS or self._ring_bytes > RING_BYTES:
                evicted = self._ring.pop(0)
                del self._since[0]
                self._ring_bytes -= size_of(evicted)
                self.floor = evicted.offset
            self._rings.total_bytes += self._ring_bytes - before
        return True

    def remove(self, upto: int) -> None:
        """The history up to the sequence `upto` was removed: drops it from the ring, too."""
        while self._ring and self._ring[0].offset <= upto:
            self._grow(-size_of(self._ring.pop(0)))
            del self._since[0]
        self.floor = max(self.floor, min(upto, self.last))
        self.removed = max(self.removed, upto)

    def _grow(self, size: int) -> None:
        self._ring_bytes += size
        self._rings.total_bytes += size

    def close(self) -> None:
        """The channel is closed: its ring no longer counts. A sync or an open in progress may still change it."""
        self._rings.total_bytes -= self._ring_bytes
        self._rings = Rings()

    @property
    def newest(self) -> Publication | None:
        """The newest publication, None if it is not in the ring."""
        return self._ring[-1] if self._ring else None

    def skip_to(self, sequence: int) -> None:
        """Moves on past a hole: the ring must not be read across it."""
        self.last = self.floor = max(self.last, sequence)
        self._clear_ring()

    def _clear_ring(self) -> None:
        self._ring.clear()
        self._since.clear()
        self._grow(-self._ring_bytes)

    def begin_sync(self) -> None:
        """From now on live messages are buffered."""
        self.syncing = True
        self._overflow = False

    def next_buffered(self, regardless: bool = False) -> LiveMessage | None:
        """While draining after a sync: the next buffered message that continues the log, None if there is none.

        None with `gap` True means that the log must be read once more. `regardless`: the log was read, and does not
        hold what is missing, so the next message is taken anyway.
        """
        while self._buffer:
            message = self._buffer[0]
            if message.sequence > self.last and message.previous > self.last and not regardless:
                return None
            del self._buffer[0]
            self._buffer_bytes -= _size(message)
            if message.sequence > self.last:
                return message
        return None

    @property
    def gap(self) -> bool:
        """Whether messages are buffered that do not continue the log, or messages were dropped for lack of room."""
        return bool(self._buffer) or self._overflow

    def end_sync(self) -> None:
        """From now on live messages are delivered again."""
        self.syncing = False

    def after(self, offset: int, size: int = 0, since: float = -math.inf) -> list[Publication] | None:
        """The publications after `offset` up to `last`; None if the ring does not reach back that far.

        `size` is the history's size; publications from before the time `since` have expired. Also None if the history
        no longer holds all of the publications by these limits: the ring returns nothing that the log would not.
        """
        if not self.floor <= offset <= self.last:
            return None
        missed = [publication for publication in self._ring if publication.offset > offset]
        if missed and ((size and len(missed) > size) or self._since[-len(missed)] < since):
            return None
        return missed


def _size(message: LiveMessage) -> int:
    return 0 if message.publication is None else size_of(message.publication)
