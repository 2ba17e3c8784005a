"""The subscribers of one channel on this edge, in groups that receive the same bytes, and the fan-out to them.

The publications of one turn of the event loop are encoded once and framed as one for each group. A write costs the
kernel several times what the rest of a delivery costs, so under load the number of writes decides. The members of a
group have the same format; all or none of them get Fossil deltas, and all or none of them have a tags filter.

A few subscribers get everything at the end of the turn. Writing to many subscribers takes as many turns as it needs:
the loop does other work in between, and new publications queue up meanwhile. Each subscription knows how far it has
come (`Subscription.seen`), so that one of them can be served ahead of the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from proto import codes
from proto.codes import UnsubscribeCode
from proto.messages import ClientInfo, Publication
from proto.replies import Push
from services.chassis.process.log_fields import about
from services.edge.channels.batch import (
    BATCH_BYTES,
    NEVER,
    Batch,
    Kind,
    MemberEventBatch,
    PublicationBatch,
    is_ended,
    skip_to,
)
from services.edge.channels.batch_queue import BATCH_OVERHEAD, BatchQueue
from services.edge.channels.delivery import Delivery
from services.edge.channels.delivery_times import NOT_MEASURED, Deliveries
from services.edge.channels.pace import AtOnce, Pace
from services.edge.channels.subscriber import Subscriber
from services.edge.channels.subscription import Subscription

log = logging.getLogger(__name__)

FEW: Final = 8
"""Up to this many subscribers get a batch without a look at the clock."""

_WRITES_AT_ONCE: Final = 32
_BYTES_AT_ONCE: Final = 256 * 1024
"""Writes, and bytes, between two looks at the clock: below a millisecond."""


class Subscribers:
    """The subscribers of `channel`, which is the name in pushes.

    A subscriber gets publications from when it is added until it is removed; its connection calls `flush` before that.
    No write changes the groups: a connection that has to end is closed after the fan-out.
    """

    __slots__ = (
        "_deliveries",
        "_due",
        "_groups",
        "_last",
        "_members_ended",
        "_open",
        "_pace",
        "_queue",
        "_whole_next",
        "channel",
    )

    def __init__(self, channel: str, pace: Pace | None = None, deliveries: Deliveries = NOT_MEASURED) -> None:
        self.channel = channel
        self._pace: Pace = pace or AtOnce()
        self._deliveries = deliveries
        self._groups: dict[Kind, dict[Subscriber, Subscription]] = {}
        self._last = 0  # the number of the last batch
        self._open: PublicationBatch | MemberEventBatch | None = None  # takes new pushes until it is written
        self._due = False  # `_end_of_turn` is scheduled
        self._queue: BatchQueue | None = None
        self._whole_next = False  # the next publication is sent in full to those with deltas, too
        self._members_ended = False  # no subscriber is left that gets joins and leaves

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[tuple[Subscriber, Subscription]]:
        """Iterates over a copy, as subscribers may leave meanwhile."""
        return iter([item for group in self._groups.values() for item in group.items()])

    def add(self, subscriber: Subscriber, subscription: Subscription) -> None:
        """Adds a subscriber, which gets publications from now on."""
        self._seal()
        skip_to(subscription, self._last)
        self._groups.setdefault(_kind(subscriber, subscription), {})[subscriber] = subscription
        if subscription.pushes_join_leave:
            self._members_ended = False

    def remove(self, subscriber: Subscriber) -> Subscription | None:
        """Removes a subscriber and returns its subscription, None if it has none. Writes nothing."""
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

        A client whose join is to be announced does not count before that: if its connection ended first, no leave would
        follow.
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

    # --- fan-out -----------------------------------------------------------------------------------------------------

    def fan_out(
        self,
        publication: Publication,
        previous: Publication | None,
        delivered_offset: int = 0,
        published_at: float = 0.0,
        delivery: Delivery | None = None,
    ) -> None:
        """Sends a publication to all subscribers, at the end of this turn of the loop or later.

        `previous` is the channel's previous publication, if that is known. `delivered_offset` is the offset of the
        log before this publication. `published_at`: see `LiveMessage`. `delivery` traces it.
        """
        if self._whole_next:
            previous, self._whole_next = None, False
        batch = self._open
        if type(batch) is PublicationBatch and batch.add(publication, previous, published_at):
            if delivery is not None:
                batch.trace(delivery)
            return
        batch = PublicationBatch(self.channel, self._last + 1, delivered_offset)
        batch.add(publication, previous, published_at)
        if delivery is not None:
            batch.trace(delivery)
        self._begin(batch)

    def fan_out_member_event(self, event: Push) -> None:
        """Sends a join or a leave to the subscribers that get them.

        If too much waits, they are sent to subscribe again: a client that missed one would show wrong members for good.
        """
        if self._queue is not None and self._queue.overflows:
            if not self._members_ended:
                self._members_ended = True
                self.end(codes.UNSUBSCRIBED_INSUFFICIENT_STATE, lambda subscription: subscription.pushes_join_leave)
            return
        batch = self._open
        if type(batch) is MemberEventBatch and batch.add(event):
            return
        batch = MemberEventBatch(self.channel, self._last + 1)
        batch.add(event)
        self._begin(batch)

    def forget_bases(self) -> None:
        """No subscriber holds the base of the next delta: the next publication is sent in full."""
        self._whole_next = True

    def end(self, why: UnsubscribeCode, chosen: Callable[[Subscription], bool]) -> None:
        """Ends the chosen subscriptions: they get nothing from now on, and each client is notified in its turn."""
        for subscriber, subscription in self:
            if chosen(subscription) and not is_ended(subscription):
                skip_to(subscription, NEVER)
                self._pace.wait(partial(self._end, subscriber, subscription, why))

    def _end(self, subscriber: Subscriber, subscription: Subscription, why: UnsubscribeCode) -> None:
        if self.get(subscriber) is subscription:
            subscriber.owner.end_subscription(self.channel, why)

    def silence(self) -> None:
        """No subscriber gets anything from now on."""
        for _, subscription in self:
            skip_to(subscription, NEVER)

    # --- how far subscribers have come -------------------------------------------------------------------------------

    def flush(self, subscriber: Subscriber) -> None:
        """Writes to this subscriber now what waits for it: at most one large batch, or a few small ones.

        The rest comes in its turn; a client that leaves before then recovers it, if there is a history.
        """
        subscription = self.get(subscriber)
        if subscription is None:
            return
        written = 0
        for batch in self._unwritten(subscription):
            if written and written + batch.size > BATCH_BYTES:
                break
            written += batch.size + BATCH_OVERHEAD
            batch.send(_kind(subscriber, subscription), ((subscriber, subscription),), keep=False)

    def resume(self, subscriber: Subscriber, subscription: Subscription) -> None:
        """The client has caught up with the log: of what waits, it gets only joins and leaves, which no log has."""
        for batch in self._unwritten(subscription):
            if isinstance(batch, MemberEventBatch):
                refused = len(batch.refused)
                batch.send(_kind(subscriber, subscription), ((subscriber, subscription),))
                del batch.refused[refused:]  # it is released now, and gets all that is held for it
            else:
                subscription.delivered(False)  # it may not hold the base of the next publication
        skip_to(subscription, self._last)

    def delivered_offset(self, subscription: Subscription) -> int | None:
        """The offset up to which the client was sent everything; None if nothing waits for it.

        This is true even during a write to that client.
        """
        waiting = () if self._queue is None else self._queue.batches
        for batch in (*waiting, self._open):  # the open one stays open
            if isinstance(batch, PublicationBatch) and batch.number > subscription.seen:
                return batch.delivered_offset
        return None

    def _unwritten(self, subscription: Subscription) -> list[Batch]:
        """The batches that wait for a client."""
        self._seal()
        batches = () if self._queue is None else self._queue.batches
        return [batch for batch in batches if batch.number > subscription.seen]

    @property
    def congested(self) -> bool:
        """Whether so much waits that no more should be handed to the fan-out."""
        return self._queue is not None and self._queue.congested

    def when_room(self, work: Callable[[], object]) -> None:
        """Calls `work` once there is room for more: immediately, if nothing waits."""
        if self._queue is None:
            work()
        else:
            self._queue.when_room(work)

    # --- writing -----------------------------------------------------------------------------------------------------

    def _begin(self, batch: PublicationBatch | MemberEventBatch) -> None:
        self._seal()
        self._last = batch.number
        self._open = batch
        if not self._due and not (self._queue is not None and self._queue.waits):
            self._due = True
            self._pace.at_end_of_turn(self._end_of_turn)

    def _seal(self) -> None:
        """Moves the open batch to the queue: nothing is added to it any more."""
        batch, self._open = self._open, None
        if batch is not None:
            if self._queue is None:
                self._queue = BatchQueue(self._pace)
            self._queue.append(batch)

    def _end_of_turn(self) -> None:
        self._due = False
        batch = self._open
        if batch is not None and self._queue is None:  # nearly always
            writing = self._writing(batch)
            self._open = None
            if self._written(writing, few=len(self) <= FEW):
                self._finish(batch)
                return
            queue = self._queue = BatchQueue(self._pace)
            queue.append(batch)
            queue.writing = writing
        if self._queue is not None and not self._queue.waits:
            self._go_on(self._queue)

    def _go_on(self, queue: BatchQueue) -> None:
        queue.waits = False
        while True:
            if not queue.batches:
                self._seal()  # only now, so that as many publications as possible share a write
            if not queue.batches:
                self._queue = None
                return
            if queue.writing is None:
                queue.writing = self._writing(queue.batches[0])
            if not self._written(queue.writing):
                queue.waits = True
                self._pace.wait(partial(self._go_on, queue))
                return
            queue.writing = None
            self._finish(queue.finish())

    def _written(self, writing: Iterator[None], few: bool = False) -> bool:
        """Continues with a batch while there is time. Returns whether all subscribers have it."""
        while few or self._pace.has_time():
            try:
                next(writing)
            except StopIteration:
                return True
        return False

    def _writing(self, batch: Batch) -> Iterator[None]:
        """Writes a batch to some subscribers in each step. Subscribers may come and leave between two steps."""
        for kind in tuple(self._groups):
            recipients = tuple(self._groups.get(kind, {}).items())
            at_once = max(1, min(_WRITES_AT_ONCE, _BYTES_AT_ONCE // batch.cost(kind)))
            for first in range(0, len(recipients), at_once):
                some = recipients[first : first + at_once]
                try:
                    batch.send(kind, some)
                    if batch.deliveries is not None:
                        batch.note([one for one in some if not is_ended(one[1])])  # one that has left has no owner
                except Exception:
                    log.exception("failed to write to subscribers", extra=about(channel=self.channel))
                    for subscriber, subscription in some:  # they are closed, come back, and recover what they lack
                        if is_ended(subscription):  # it has left since this batch began
                            continue
                        skip_to(subscription, NEVER)
                        batch.refused.append((subscriber.owner, codes.INTERNAL_CLOSE, "a write failed"))
                yield

    def _finish(self, batch: Batch) -> None:
        """The batch is written: closes the connections whose transport refused it."""
        if type(batch) is PublicationBatch:
            self._deliveries.written(batch.published_at)
        if batch.deliveries is not None:
            for delivery in batch.deliveries:
                delivery.end(len(self))
                self._deliveries.traced(delivery.published_at, delivery.trace_id)
        for owner, close, why in batch.refused:
            self._pace.wait(partial(owner.close, close, why))


def _kind(subscriber: Subscriber, subscription: Subscription) -> Kind:
    return Kind(subscriber.format, subscription.delta, subscription.filter is not None)
