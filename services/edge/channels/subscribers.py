"""The subscribers of one channel on this edge, in groups that receive the same bytes, and the fan-out to them.

The publications of one turn of the event loop are encoded once and framed as one for each group, then written to all of
its members in one synchronous loop. A write costs the kernel several times what the rest of a delivery costs, so under
load the number of writes decides. The members of a group have the same format, and all or none of them get Fossil
deltas, and only publications that match a tags filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple, Protocol

from proto.codes import CloseCode, UnsubscribeCode
from proto.messages import ClientInfo, Publication
from proto.publications import size_of
from proto.replies import Push, Reply
from services.edge.channels.encoding import EncodedPushes, as_delta, encode_pushes
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import Format

PENDING_BYTES: Final = 64 * 1024
PENDING_PUBLICATIONS: Final = 64
"""With this much pending, the flush does not wait for the end of the turn: a frame stays far below what SDKs take
(1 MiB)."""


class Untaken(NamedTuple):
    """A push that was not written: the client catches up later, or misses it. `close`: its connection has to end."""

    close: CloseCode | None = None
    why: str = ""


SKIPPED: Final = Untaken()


class Owner(Protocol):
    """The connection that a subscriber writes to. These methods act at once, so a fan-out never calls them."""

    def close(self, close: CloseCode, detail: str = "") -> None:
        """Ends the connection; `detail` is for the log."""

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        """Ends one subscription, and sends the client an unsubscribe push."""


class Subscriber(Protocol):
    """A client as a channel writes to it. A write never blocks, raises, or closes: it returns a close that is due."""

    format: Format

    @property
    def owner(self) -> Owner:
        """The connection that it writes to."""

    @property
    def closed(self) -> bool:
        """Whether nothing is written any more."""

    def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
        """Writes a frame of `count` pushes; None when it was written."""

    def push_member_event(self, channel: str, framed: bytes) -> Untaken | None:
        """Writes one framed join or leave. No log stores it, so it waits for a client that cannot take it now."""

    def left_out(self, count: int) -> None:
        """Counts pushes that its encoding cannot carry, and that it therefore does not get."""


class _Kind(NamedTuple):
    format: Format
    delta: bool
    filtered: bool


_Group = dict[Subscriber, Subscription]


class _Published(NamedTuple):
    """A publication and the channel's previous one, None when that is not known."""

    publication: Publication
    previous: Publication | None


def _at_once(flush: Callable[[], None]) -> None:
    flush()


class Subscribers:
    """The subscribers of `channel`, which is the name in pushes. `later` runs a callback at the end of the turn.

    Pending publications are flushed before a subscriber is added or sent anything else; on removal the connection
    flushes (`Node.flush`). No write changes the groups: a connection that has to end is closed after the fan-out.

    `delivered_offset`, while publications are pending: the offset up to which subscribers received everything.
    """

    __slots__ = ("_groups", "_later", "_pending", "_pending_bytes", "_refused", "channel", "delivered_offset")

    def __init__(self, channel: str, later: Callable[[Callable[[], None]], object] = _at_once) -> None:
        self.channel = channel
        self._later = later
        self._groups: dict[_Kind, _Group] = {}
        self._pending: list[_Published] | None = None
        self._pending_bytes = 0
        self.delivered_offset = 0
        self._refused: list[tuple[Owner, Untaken]] | None = None  # of the fan-out under way

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[tuple[Subscriber, Subscription]]:
        """Flushes, then iterates over a copy, as subscribers may leave meanwhile."""
        self.flush()
        return iter([item for group in self._groups.values() for item in group.items()])

    def add(self, subscriber: Subscriber, subscription: Subscription) -> None:
        """Adds a subscriber, which gets what is published from now on."""
        self.flush()
        kind = _Kind(subscriber.format, subscription.delta, subscription.filter is not None)
        self._groups.setdefault(kind, {})[subscriber] = subscription

    def remove(self, subscriber: Subscriber) -> Subscription | None:
        """Removes a subscriber and returns its subscription, None if it had none. Does not flush."""
        for kind, group in self._groups.items():
            subscription = group.pop(subscriber, None)
            if subscription is not None:
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

    # --- publications ------------------------------------------------------------------------------------------------

    @property
    def has_pending(self) -> bool:
        """Whether publications are pending."""
        return self._pending is not None

    def fan_out(self, publication: Publication, previous: Publication | None, delivered_offset: int = 0) -> None:
        """Queues a publication for all subscribers until this turn of the loop ends.

        `previous` is the channel's publication before it, if that is known. `delivered_offset` is the offset of the
        log before this publication: subscribers have received everything up to it while this one is pending.
        """
        size = size_of(publication)
        pending = self._pending
        if pending is not None and len(pending) < PENDING_PUBLICATIONS and self._pending_bytes + size <= PENDING_BYTES:
            pending.append(_Published(publication, previous))
            self._pending_bytes += size
            return
        self._pending, self._pending_bytes = [_Published(publication, previous)], size
        # Before anything is written, as a client that stalls in the flush reads it.
        self.delivered_offset = delivered_offset
        if pending is None:
            self._later(self.flush)
        else:
            self._send_all(pending)

    def flush(self) -> None:
        """Writes what is pending, in one frame to each subscriber: one that stalls in it has received all of it."""
        published, self._pending = self._pending, None
        if published is not None:
            self._send_all(published)

    def _send_all(self, published: list[_Published]) -> None:
        for kind, group in self._groups.items():  # no write changes the groups
            if kind.delta:
                self._send_deltas(kind.format, group, published)
            elif kind.filtered:
                self._send_filtered(kind.format, group, published)
            else:
                self._send_whole(kind.format, group, published)
        self._close_refused()

    def _send_whole(self, format: Format, group: _Group, published: list[_Published]) -> None:
        framed, count, left_out = encode_pushes(format, self.channel, [each.publication for each in published])
        if count:
            for subscriber, subscription in group.items():  # the hottest loop of an edge
                untaken = subscriber.push(framed, subscription, count)
                if untaken is not None and untaken.close is not None:
                    self._refuse(subscriber, untaken)
        if left_out:
            for subscriber in group:
                subscriber.left_out(left_out)

    def _send_filtered(self, format: Format, group: _Group, published: list[_Published]) -> None:
        encoded: dict[tuple[bool, ...], EncodedPushes] = {}
        for subscriber, subscription in group.items():
            wanted = tuple([subscription.wants(each.publication) for each in published])
            if not any(wanted):
                continue
            if wanted not in encoded:
                chosen = [each.publication for each, wants in zip(published, wanted, strict=True) if wants]
                encoded[wanted] = encode_pushes(format, self.channel, chosen)
            self._send(subscriber, subscription, encoded[wanted])

    def _send_deltas(self, format: Format, group: _Group, published: list[_Published]) -> None:
        """Sends differences, the first one against the base; subscribers that lack the base get that one whole."""
        encoded: dict[bool, EncodedPushes] = {}
        for subscriber, subscription in group.items():
            has_base = subscription.has_base
            if has_base not in encoded:
                changes = _changes(format, published, has_base)
                encoded[has_base] = encode_pushes(format, self.channel, changes)
            # A client that does not take it catches up with whole publications, and starts again from those.
            subscription.delivered(self._send(subscriber, subscription, encoded[has_base]))

    def _send(self, subscriber: Subscriber, subscription: Subscription, encoded: EncodedPushes) -> bool:
        """Whether the subscriber has all of it."""
        framed, count, left_out = encoded
        untaken = subscriber.push(framed, subscription, count) if count else None
        if left_out:
            subscriber.left_out(left_out)
        if untaken is not None and untaken.close is not None:
            self._refuse(subscriber, untaken)
        return untaken is None and not left_out

    def _refuse(self, subscriber: Subscriber, untaken: Untaken) -> None:
        """Notes a close, which changes the groups and flushes other channels, for after this fan-out."""
        if self._refused is None:
            self._refused = []
        self._refused.append((subscriber.owner, untaken))

    def _close_refused(self) -> None:
        refused, self._refused = self._refused, None
        if refused is not None:
            self._later(partial(_close_all, refused))

    # --- everything else ---------------------------------------------------------------------------------------------

    def fan_out_member_event(self, push: Push) -> None:
        """Sends a join or a leave to the subscribers that get them."""
        framed: dict[Format, bytes] = {}
        for subscriber, subscription in self:
            if subscription.pushes_join_leave:
                format = subscriber.format
                if format not in framed:
                    framed[format] = format.frame([format.encode(Reply(push=push))])
                untaken = subscriber.push_member_event(self.channel, framed[format])
                if untaken is not None and untaken.close is not None:
                    self._refuse(subscriber, untaken)
        self._close_refused()

    def forget_bases(self) -> None:
        """Forgets which subscribers hold the previous publication."""
        for _, subscription in self:
            subscription.has_base = False


def _close_all(refused: list[tuple[Owner, Untaken]]) -> None:
    for owner, untaken in refused:
        if untaken.close is not None:
            owner.close(untaken.close, untaken.why)


def _changes(format: Format, published: list[_Published], has_base: bool) -> Iterator[Publication]:
    """Each publication as its difference to the one before it, or whole where that one is not held: it is the first and
    `has_base` is False, or this format cannot carry it.
    """
    for publication, previous in published:
        change = as_delta(format, publication, previous if has_base else None)
        has_base = change is not None
        yield publication if change is None else change
