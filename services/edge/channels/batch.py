"""What the subscribers of a channel get in one frame: publications, or joins and leaves.

A batch is encoded once for each group of subscribers that receive the same bytes, however many turns of the event loop
it takes to write it to all of them.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple

from proto.codes import CloseCode
from proto.messages import Publication
from proto.publications import size_of
from proto.replies import Push
from services.edge.channels.delivery import Delivery, Recipients
from services.edge.channels.encoding import EncodedPushes, as_delta, encode_publications, encode_pushes
from services.edge.channels.subscriber import Owner, Subscriber, Untaken
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import Format

BATCH_BYTES: Final = 64 * 1024
BATCH_PUSHES: Final = 64
"""A frame stays far below what SDKs take (1 MiB)."""

_MEMBER_EVENT_BYTES: Final = 256
"""Approximate size of a join or leave: mostly the info that tokens carry."""

_FILTER_COST: Final = 4096
"""The cost of a tags filter of 64 nodes for one publication, in the unit of `Batch.cost`."""

_FRAMES: Final = 64
"""The most frames that a batch keeps: tags filters may choose very many combinations of its publications."""


NEVER: Final = sys.maxsize
"""The number of a batch that never comes."""


def is_ended(subscription: Subscription) -> bool:
    """Whether the subscription gets no further batch."""
    return subscription.seen >= NEVER


def skip_to(subscription: Subscription, number: int) -> None:
    """Skips all batches up to this number for the client; `NEVER`: all batches."""
    subscription.seen = max(subscription.seen, number)


class Kind(NamedTuple):
    """What the members of a group have in common: format, deltas, and whether tags filters choose for them."""

    format: Format
    delta: bool
    filtered: bool


class Batch(ABC):
    """Pushes on their way to the subscribers of `channel`.

    `number` counts the channel's batches; see `Subscription.seen`. `size` is in bytes. `refused` collects the
    connections that have to close: `send` itself does not close them, as that changes the groups. `deliveries` trace
    its sampled publications, None if there are none.
    """

    __slots__ = ("_encoded", "channel", "deliveries", "number", "refused", "size")

    def __init__(self, channel: str, number: int) -> None:
        self.channel = channel
        self.number = number
        self.size = 0
        self.refused: list[tuple[Owner, CloseCode, str]] = []
        self._encoded: dict[object, EncodedPushes] = {}  # by what its recipients have in common
        self.deliveries: list[Delivery] | None = None

    @abstractmethod
    def send(self, kind: Kind, recipients: Recipients, keep: bool = True) -> None:
        """Writes the batch to the `recipients` that do not have it yet. All of them are of `kind`.

        `keep`: frames for recipients with tags filters are kept for others that want the same publications.
        """

    def trace(self, delivery: Delivery) -> None:
        """Traces one of its publications."""
        self.deliveries = [*(self.deliveries or ()), delivery]

    def note(self, recipients: Recipients) -> None:
        """These recipients have had their turn."""
        for delivery in self.deliveries or ():
            delivery.note(recipients)

    def cost(self, kind: Kind) -> int:
        """The cost of a write to one recipient, in bytes: about 256 KiB take a millisecond."""
        return self.size + 1

    def _keep(self, key: object, encoded: EncodedPushes) -> EncodedPushes:
        if len(self._encoded) >= _FRAMES:
            self._encoded.clear()
        self._encoded[key] = encoded
        return encoded

    def _refuse(self, subscriber: Subscriber, untaken: Untaken | None) -> None:
        if untaken is not None and untaken.close is not None:
            self.refused.append((subscriber.owner, untaken.close, untaken.why))


class _Published(NamedTuple):
    """A publication and the channel's previous one, None if that is not known."""

    publication: Publication
    previous: Publication | None


class PublicationBatch(Batch):
    """Publications. `delivered_offset` is the offset of the log before the first of them."""

    __slots__ = ("_published", "delivered_offset", "published_at")

    def __init__(self, channel: str, number: int, delivered_offset: int) -> None:
        super().__init__(channel, number)
        self.delivered_offset = delivered_offset
        self.published_at: list[float] = []  # of each
        self._published: list[_Published] = []

    def add(self, publication: Publication, previous: Publication | None, published_at: float = 0.0) -> bool:
        """Adds a publication. Returns false if the batch is full."""
        size = size_of(publication)
        if self._published and (len(self._published) >= BATCH_PUSHES or self.size + size > BATCH_BYTES):
            return False
        self._published.append(_Published(publication, previous))
        self.published_at.append(published_at)
        self.size += size
        return True

    def cost(self, kind: Kind) -> int:
        """The cost of a write to one recipient (see `Batch.cost`). A tags filter looks at each publication."""
        return super().cost(kind) + (_FILTER_COST * len(self._published) if kind.filtered else 0)

    def send(self, kind: Kind, recipients: Recipients, keep: bool = True) -> None:
        """Writes the batch to the `recipients` that do not have it yet (see `Batch.send`)."""
        if kind.delta:
            self._send_deltas(kind.format, recipients)
        elif kind.filtered:
            self._send_filtered(kind.format, recipients, keep)
        else:
            self._send_whole(kind.format, recipients)

    def _send_whole(self, format: Format, recipients: Recipients) -> None:
        encoded = self._encoded.get(format)
        if encoded is None:
            publications = [each.publication for each in self._published]
            encoded = self._keep(format, encode_publications(format, self.channel, publications))
        framed, count, left_out = encoded
        if left_out or not count:
            for subscriber, subscription in recipients:
                if subscription.seen < self.number:
                    self._send(subscriber, subscription, encoded)
            return
        number = self.number
        for subscriber, subscription in recipients:  # the hottest loop of an edge
            if subscription.seen < number:
                subscription.seen = number
                untaken = subscriber.push(framed, subscription, count)
                if untaken is not None and untaken.close is not None:
                    self._refuse(subscriber, untaken)

    def _send_filtered(self, format: Format, recipients: Recipients, keep: bool) -> None:
        for subscriber, subscription in recipients:
            if subscription.seen >= self.number:
                continue
            wanted = tuple([subscription.wants(each.publication) for each in self._published])
            if not any(wanted):
                subscription.seen = self.number
                continue
            encoded = self._encoded.get((format, wanted))
            if encoded is None:
                chosen = [each.publication for each, wants in zip(self._published, wanted, strict=True) if wants]
                encoded = encode_publications(format, self.channel, chosen)
                if keep:
                    self._keep((format, wanted), encoded)
            self._send(subscriber, subscription, encoded)

    def _send_deltas(self, format: Format, recipients: Recipients) -> None:
        """Sends differences, the first one against the base; subscribers that lack the base get the first one whole."""
        for subscriber, subscription in recipients:
            if subscription.seen >= self.number:
                continue
            key = format, subscription.has_base
            encoded = self._encoded.get(key)
            if encoded is None:
                changes = _changes(format, self._published, subscription.has_base)
                encoded = self._keep(key, encode_publications(format, self.channel, changes))
            # A client that does not take it catches up with whole publications, and starts again from those.
            subscription.delivered(self._send(subscriber, subscription, encoded))

    def _send(self, subscriber: Subscriber, subscription: Subscription, encoded: EncodedPushes) -> bool:
        """Writes to one subscriber. Returns whether it has got everything."""
        subscription.seen = self.number  # before the write, as a client that stalls in it asks what it has
        framed, count, left_out = encoded
        untaken = subscriber.push(framed, subscription, count) if count else None
        if left_out:
            subscriber.left_out(left_out)
        self._refuse(subscriber, untaken)
        return untaken is None and not left_out


def _changes(format: Format, published: list[_Published], has_base: bool) -> Iterator[Publication]:
    """Yields each publication as its difference to the previous one, or whole if the subscriber does not hold that: the
    first one if `has_base` is false, and the next one after a publication that this format cannot carry.
    """
    for publication, previous in published:
        change = as_delta(format, publication, previous if has_base else None)
        has_base = change is not None
        yield publication if change is None else change


class MemberEventBatch(Batch):
    """Joins and leaves, for the subscribers that get them."""

    __slots__ = ("_events",)

    def __init__(self, channel: str, number: int) -> None:
        super().__init__(channel, number)
        self._events: list[Push] = []

    def add(self, event: Push) -> bool:
        """Adds a join or leave. Returns false if the batch is full."""
        if len(self._events) >= BATCH_PUSHES:
            return False
        self._events.append(event)
        self.size += _MEMBER_EVENT_BYTES
        return True

    def send(self, kind: Kind, recipients: Recipients, keep: bool = True) -> None:
        """Writes the batch to the `recipients` that do not have it yet (see `Batch.send`)."""
        for subscriber, subscription in recipients:
            if subscription.seen < self.number:
                subscription.seen = self.number
                if subscription.pushes_join_leave:
                    encoded = self._encoded.get(kind.format)
                    if encoded is None:
                        encoded = self._keep(kind.format, encode_pushes(kind.format, self._events))
                    framed, count, left_out = encoded
                    if count:
                        self._refuse(subscriber, subscriber.push_member_events(self.channel, framed, count))
                    if left_out:
                        subscriber.left_out(left_out)
