"""The subscribers of one channel on this edge, in groups that receive the same bytes, and the fan-out to them.

The publications of one turn of the event loop are encoded once and framed as one for each group. A write costs the
kernel several times what the rest of a delivery costs, so under load the number of writes decides. The members of a
group have the same format, and all or none of them get Fossil deltas, and only publications that match a tags filter.

A few subscribers get everything at the end of the turn. What many subscribers get takes as many turns as it needs: the
loop serves everybody else in between, and what is published meanwhile queues up behind it. Each subscription knows how
far it has come (`Subscription.seen`), so that one of them can be served ahead of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from proto import codes
from proto.codes import UnsubscribeCode
from proto.messages import ClientInfo, Publication
from proto.replies import Push
from services.edge.channels.batch import NEVER, Batch, Kind, MemberEventBatch, PublicationBatch, skip_to
from services.edge.channels.pace import WAITING_BYTES, AtOnce, Pace
from services.edge.channels.subscriber import Subscriber
from services.edge.channels.subscription import Subscription

CHANNEL_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Batches of one channel that wait until they are written."""

FEW: Final = 8
"""So many subscribers are written to without a look at the clock."""

_WRITES_AT_ONCE: Final = 32
_BYTES_AT_ONCE: Final = 256 * 1024
"""Between two looks at the clock: below a millisecond."""

_BATCH_BYTES: Final = 1024
"""What a batch takes besides its publications, about."""


class _Queue:
    """Batches that are not written yet. `writing` writes the first one, step by step.

    `waits`: for its next turn; otherwise the end of this one is awaited.
    """

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        self.bytes = 0
        self.writing: Iterator[None] | None = None
        self.waits = False
        self.when_drained: list[Callable[[], object]] = []


class Subscribers:
    """The subscribers of `channel`, which is the name in pushes.

    A subscriber gets what is published after it was added, and nothing once it is removed: before that, the connection
    flushes it. No write changes the groups: a connection that has to end is closed after the fan-out.
    """

    __slots__ = ("_due", "_groups", "_last", "_open", "_pace", "_queue", "_whole_next", "channel")

    def __init__(self, channel: str, pace: Pace | None = None) -> None:
        self.channel = channel
        self._pace: Pace = pace or AtOnce()
        self._groups: dict[Kind, dict[Subscriber, Subscription]] = {}
        self._last = 0  # the number of the last batch
        self._open: PublicationBatch | MemberEventBatch | None = None  # what came in this turn of the loop
        self._due = False  # at the end of this turn
        self._queue: _Queue | None = None
        self._whole_next = False  # nobody holds the base of the next publication

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[tuple[Subscriber, Subscription]]:
        """Iterates over a copy, as subscribers may leave meanwhile."""
        return iter([item for group in self._groups.values() for item in group.items()])

    def add(self, subscriber: Subscriber, subscription: Subscription) -> None:
        """Adds a subscriber, which gets what is published from now on."""
        self.skip(subscription)
        self._groups.setdefault(_kind(subscriber, subscription), {})[subscriber] = subscription

    def remove(self, subscriber: Subscriber) -> Subscription | None:
        """Removes a subscriber and returns its subscription, None if it had none. Does not flush."""
        for kind, group in self._groups.items():
            subscription = group.pop(subscriber, None)
            if subscription is not None:
                skip_to(subscription, NEVER)
                if not group:
                    del self._groups[kind]
                return subscription
        return None

    def get(self, subscriber: Subscriber) -> Subscription | None:
        """The subscription of a subscriber."""
        return next((group[subscriber] for group in self._groups.values() if subscriber in group), None)

    def members(self) -> dict[str, ClientInfo]:
        """The members of the channel on this edge, by client id.

        One whose join is to be announced is none before that: if its connection ends first, no leave would follow.
        """
        found: dict[str, ClientInfo] = {}
        for group in self._groups.values():
            for subscription in group.values():
                member = subscription.member
                if member is None or (subscription.emits_join_leave and not subscription.announced):
                    continue
                if isinstance(member.client, str):
                    found[member.client] = member
        return found

    # --- what they get -----------------------------------------------------------------------------------------------

    def fan_out(self, publication: Publication, previous: Publication | None, delivered_offset: int = 0) -> None:
        """Sends a publication to all subscribers, at the end of this turn of the loop or later.

        `previous` is the channel's publication before it, if that is known. `delivered_offset` is the offset of the
        log before this publication.
        """
        if self._whole_next:
            previous, self._whole_next = None, False
        batch = self._open
        if type(batch) is PublicationBatch and batch.add(publication, previous):
            return
        batch = PublicationBatch(self.channel, self._last + 1, delivered_offset)
        batch.add(publication, previous)
        self._begin(batch)

    def fan_out_member_event(self, event: Push) -> None:
        """Sends a join or a leave to the subscribers that get them.

        Where too much waits, they subscribe again: one who missed any would show wrong members for good.
        """
        if self.congested:
            self.end(codes.UNSUBSCRIBED_INSUFFICIENT_STATE, lambda subscription: subscription.pushes_join_leave)
            return
        batch = self._open
        if type(batch) is MemberEventBatch and batch.add(event):
            return
        batch = MemberEventBatch(self.channel, self._last + 1)
        batch.add(event)
        self._begin(batch)

    def forget_bases(self) -> None:
        """No subscriber holds the publication before the next one: a difference to it would be lost on them."""
        self._whole_next = True

    def end(self, why: UnsubscribeCode, chosen: Callable[[Subscription], bool]) -> None:
        """Ends the chosen subscriptions: they get nothing from now on, and each client hears of it in its turn."""
        for subscriber, subscription in self:
            if chosen(subscription) and subscription.seen < NEVER:
                skip_to(subscription, NEVER)
                self._pace.wait(partial(self._end, subscriber, subscription, why))

    def _end(self, subscriber: Subscriber, subscription: Subscription, why: UnsubscribeCode) -> None:
        if self.get(subscriber) is subscription:
            subscriber.owner.end_subscription(self.channel, why)

    # --- how far they have come --------------------------------------------------------------------------------------

    def flush(self, subscriber: Subscriber) -> None:
        """Writes to this subscriber now whatever it has not been sent yet."""
        subscription = self.get(subscriber)
        if subscription is not None:
            self._seal()
            for batch in self._queue.batches if self._queue is not None else ():
                batch.send(_kind(subscriber, subscription), ((subscriber, subscription),))

    def skip(self, subscription: Subscription) -> None:
        """It gets nothing of what waits: the client has it already, or asks for it."""
        self._seal()
        skip_to(subscription, self._last)

    def delivered_offset(self, subscription: Subscription) -> int | None:
        """The offset up to which the client was sent everything; None if that is where the log is.

        True also inside of a write to that client.
        """
        waiting = [*self._queue.batches] if self._queue is not None else []
        if self._open is not None:
            waiting.append(self._open)
        for batch in waiting:
            if batch.number > subscription.seen and isinstance(batch, PublicationBatch):
                return batch.delivered_offset
        return None

    @property
    def congested(self) -> bool:
        """Whether so much waits that no more should be handed to the fan-out."""
        queue = self._queue
        return queue is not None and (queue.bytes > CHANNEL_WAITING_BYTES or self._pace.waiting_bytes > WAITING_BYTES)

    def when_drained(self, work: Callable[[], object]) -> None:
        """Calls `work` once everything is written: at once, if nothing waits."""
        if self._queue is None:
            work()
        else:
            self._queue.when_drained.append(work)

    # --- writing -----------------------------------------------------------------------------------------------------

    def _begin(self, batch: PublicationBatch | MemberEventBatch) -> None:
        self._seal()
        self._last = batch.number
        self._open = batch
        if not self._due and not (self._queue is not None and self._queue.waits):
            self._due = True
            self._pace.at_end_of_turn(self._end_of_turn)

    def _seal(self) -> None:
        """Nothing is added to the open batch any more."""
        batch, self._open = self._open, None
        if batch is not None:
            self._append(batch)

    def _append(self, batch: Batch) -> _Queue:
        queue = self._queue
        if queue is None:
            queue = self._queue = _Queue()
        queue.batches.append(batch)
        queue.bytes += batch.size + _BATCH_BYTES
        self._pace.waiting_bytes += batch.size + _BATCH_BYTES
        return queue

    def _end_of_turn(self) -> None:
        self._due = False
        batch = self._open
        if batch is not None and self._queue is None:  # nearly always
            self._open = None
            writing = self._writing(batch)
            if self._written(writing):
                self._close_refused(batch)
                return
            self._append(batch).writing = writing
        queue = self._queue
        if queue is not None and not queue.waits:
            self._go_on(queue)

    def _go_on(self, queue: _Queue) -> None:
        queue.waits = False
        while True:
            if not queue.batches:
                self._seal()  # not before it has its turn: as much as possible shares a write
            if not queue.batches:
                break
            batch = queue.batches[0]
            if queue.writing is None:
                queue.writing = self._writing(batch)
            if not self._written(queue.writing):
                queue.waits = True
                self._pace.wait(partial(self._go_on, queue))
                return
            queue.writing = None
            queue.batches.popleft()
            queue.bytes -= batch.size + _BATCH_BYTES
            self._pace.waiting_bytes -= batch.size + _BATCH_BYTES
            self._close_refused(batch)
        self._queue = None
        for work in queue.when_drained:
            work()

    def _written(self, writing: Iterator[None]) -> bool:
        """Goes on with a batch while there is time; whether everybody has it."""
        few = len(self) <= FEW
        while few or self._pace.has_time():
            try:
                next(writing)
            except StopIteration:
                return True
        return False

    def _writing(self, batch: Batch) -> Iterator[None]:
        """Writes a batch, some subscribers with each step. They may come and leave between two steps."""
        at_once = max(1, min(_WRITES_AT_ONCE, _BYTES_AT_ONCE // (batch.size or 1)))
        for kind in tuple(self._groups):
            recipients = tuple(self._groups.get(kind, {}).items())
            for first in range(0, len(recipients), at_once):
                batch.send(kind, recipients[first : first + at_once])
                yield

    def _close_refused(self, batch: Batch) -> None:
        for owner, close, why in batch.refused:
            self._pace.wait(partial(owner.close, close, why))


def _kind(subscriber: Subscriber, subscription: Subscription) -> Kind:
    return Kind(subscriber.format, subscription.delta, subscription.filter is not None)
