"""What an edge knows of one channel's log: how far it has come, the last publications, and the rule for live messages.

Pure, and the heart of "no loss, no duplicate, in order". `last` is the sequence up to which everything has been handed
to this edge's subscribers. A live message says its own sequence and that of its predecessor:

    sequence <= last        known already: drop
    syncing                 buffer
    previous <= last        its predecessor was delivered: deliver, last = sequence
    otherwise               something is missing in between: buffer, and sync

Never ask for `previous == last`: after an eviction it is 0. *Sync* reads the log from last + 1 on until nothing is
pending, hands every publication to `admit`, then drains the buffer, with no await between the two.
"""

from __future__ import annotations

from typing import Final

from proto.messages import Publication
from proto.publications import LiveMessage, size_of

RING_PUBLICATIONS: Final = 128
RING_BYTES: Final = 64 * 1024
"""A reconnect storm is answered from the ring for a few seconds' worth of a busy channel; beyond it the log is read."""

BUFFER_MESSAGES: Final = 4096
"""Live messages held while syncing. Past it they are dropped: the sync reads them from the log anyway."""


class ChannelLog:
    """See the module. Starts out syncing, until `start` says where the log stands."""

    __slots__ = ("_buffer", "_overflow", "_ring", "_ring_bytes", "before", "epoch", "floor", "last", "syncing")

    def __init__(self) -> None:
        self.epoch = ""
        self.last = 0
        self.before = 0  # where it stood before it came to `last`
        self.floor = 0  # everything after it, up to last, is in the ring
        self.syncing = True
        self._ring: list[Publication] = []  # short, and an empty deque takes 600 bytes in each channel
        self._ring_bytes = 0
        self._buffer: list[LiveMessage] = []
        self._overflow = False

    def start(self, epoch: str, last: int) -> None:
        """The log stands at `last` in `epoch`; what is known of another epoch is forgotten. Still syncing."""
        self.epoch = epoch
        self.last = self.floor = last
        self._ring.clear()
        self._ring_bytes = 0
        self._buffer = [message for message in self._buffer if message.sequence > last]
        self.syncing = True

    def accept(self, message: LiveMessage) -> bool:
        """The rule. True: deliver it now and then call `admit`. False: it is known, or buffered; see `needs_sync`."""
        if message.sequence <= self.last:
            return False
        if not self.syncing and message.previous <= self.last:
            return True
        if len(self._buffer) < BUFFER_MESSAGES:
            self._buffer.append(message)
        else:
            self._overflow = True
        return False

    @property
    def needs_sync(self) -> bool:
        """Whether something is missing and nobody fetches it yet."""
        return not self.syncing and (bool(self._buffer) or self._overflow)

    def admit(self, sequence: int, publication: Publication | None) -> bool:
        """Takes the next message of the log. False when it is known already. None: a place without a publication."""
        if sequence <= self.last:
            return False
        self.before, self.last = self.last, sequence
        if publication is not None:
            self._ring.append(publication)
            self._ring_bytes += size_of(publication)
            while len(self._ring) > RING_PUBLICATIONS or self._ring_bytes > RING_BYTES:
                evicted = self._ring.pop(0)
                self._ring_bytes -= size_of(evicted)
                self.floor = evicted.offset
        return True

    def remove(self, upto: int) -> None:
        """The history up to the sequence `upto` was removed from the log, and so from the ring."""
        while self._ring and self._ring[0].offset <= upto:
            self._ring_bytes -= size_of(self._ring.pop(0))
        self.floor = max(self.floor, min(upto, self.last))

    @property
    def newest(self) -> Publication | None:
        """The newest publication, None where it is not in the ring."""
        return self._ring[-1] if self._ring else None

    def skip_to(self, sequence: int) -> None:
        """What lies between `last` and `sequence` is lost: the ring must not be read across it."""
        self.last = self.floor = max(self.last, sequence)
        self._ring.clear()
        self._ring_bytes = 0

    def begin_sync(self) -> None:
        self.syncing = True
        self._overflow = False

    def next_buffered(self, regardless: bool = False) -> LiveMessage | None:
        """While draining after a sync: the next buffered message that continues the log, None when there is no such.

        None with `gap` True means that the log must be read once more. `regardless`: it was, and does not hold what
        is missing, so the next one it is.
        """
        while self._buffer:
            message = self._buffer[0]
            if message.sequence > self.last and message.previous > self.last and not regardless:
                return None
            del self._buffer[0]
            if message.sequence > self.last:
                return message
        return None

    @property
    def gap(self) -> bool:
        return bool(self._buffer) or self._overflow

    def end_sync(self) -> None:
        self.syncing = False

    def after(self, offset: int) -> list[Publication] | None:
        """The publications after `offset` up to `last`, None when the ring does not reach back that far."""
        if not self.floor <= offset <= self.last:
            return None
        return [publication for publication in self._ring if publication.offset > offset]
