"""Makes events of facts, from what is known about connections: which are open, since when, and in which channels. Pure.

Each `connected` is followed by one `disconnected` of the same connection, and each `subscribed` by one `unsubscribed`,
even without a fact for each: the end of a connection ends its subscriptions, and the loss of an edge ends its
connections. Facts about a connection whose opening is unknown make no event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple, assert_never

from msgspec import Struct, json

from proto.events import (
    CaughtUp,
    Closed,
    EdgeDraining,
    EdgeFound,
    EdgeLost,
    EdgeStarted,
    EdgeStopped,
    Erased,
    EventBatch,
    Lagged,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
    user_digest,
)
from services.sessions.values import identity, name_of
from services.sessions.webhooks.payload import (
    Connected,
    Disconnected,
    Occupied,
    SubscribedTo,
    UnsubscribedFrom,
    Vacated,
    WebhookEvent,
)

LOST_CODE: Final = 1006
LOST_REASON: Final = "edge lost"
ERASED_REASON: Final = "erased"
"""The reason for connections of a user who was erased, about which there are no further events."""

MAX_LOST: Final = 100_000
"""Connections of lost edges that are remembered, in case their edges come back. Beyond this number, and by
`forget_lost`, those that were lost first are forgotten: if their edge comes back, there are no more events about
them."""
_FORGOTTEN_AT_ONCE: Final = 5_000


class KnownConnection(Struct, omit_defaults=True):
    """What is known about a connection: a row of the table `webhook_connections`. `lost_at`: when it ended with its
    edge, unless the edge turns out to be alive."""

    id: str
    instance: str
    edge: str
    opened_at: int
    user: str = ""
    client_name: str = ""
    client_version: str = ""
    session_key: str = ""
    address: str = ""
    transport: str = ""
    user_agent: str = ""
    origin: str = ""
    channels: list[str] = []
    lost_at: int | None = None

    @property
    def lost(self) -> bool:
        """Whether it ended with its edge."""
        return self.lost_at is not None


_encode = json.Encoder().encode
_decode = json.Decoder(KnownConnection).decode


class Changes(NamedTuple):
    """What a message changed: rows by connection (None: the row is gone), and the number of its writer."""

    rows: Mapping[str, bytes | None]
    writers: Mapping[str, int]


class Tracker:
    """What is known about connections. It is made from the rows and numbers that an earlier tracker returned as
    changes.

    `duplicates` counts batches that were left out because they had been taken before.
    """

    def __init__(self, rows: Mapping[str, bytes], writers: Mapping[str, int]) -> None:
        self._known: dict[str, KnownConnection] = {}
        self._of_instance: dict[str, set[str]] = defaultdict(set)
        self._lost: dict[str, int] = {}  # when each was lost, in this order
        self._occupants: dict[str, int] = {}
        self._writers = dict(writers)
        self._dirty: set[str] = set()
        self._ids: Iterator[str] = iter(())
        self.duplicates = 0
        for one in sorted(map(_decode, rows.values()), key=lambda one: (one.lost_at or 0, *_age(one))):
            self._add(one)

    def __len__(self) -> int:
        return len(self._known)

    def take(self, batch: EventBatch) -> tuple[list[WebhookEvent], Changes]:
        """The events of a batch of facts, and what it changes. A batch that was taken before has none."""
        writer = name_of(batch.instance)
        if batch.number <= self._writers.get(writer, 0):
            self.duplicates += 1
            return [], Changes({}, {})
        self._writers[writer] = batch.number
        self._dirty = set()
        events: list[WebhookEvent] = []
        for index, fact in enumerate(batch.events):
            self._ids = _ids(f"{batch.message_id}-{index}")
            events.extend(self._events(fact, batch))
        rows = {name: self._row(name) for name in self._dirty}
        return events, Changes(rows, {writer: batch.number})

    def forget_lost(self, before: int) -> Changes:
        """Forgets connections that were lost before `before`, in Unix milliseconds; if there are many, only those that
        were lost first."""
        self._dirty = set()
        for name in [name for name, at in islice(self._lost.items(), _FORGOTTEN_AT_ONCE) if at < before]:
            self._forget(self._known[name])
        return Changes(dict.fromkeys(self._dirty), {})

    def _events(self, fact: SessionEvent, batch: EventBatch) -> Iterator[WebhookEvent]:
        match fact:
            case Opened():
                return self._opened(fact, batch)
            case Subscribed():
                return self._subscribed(fact)
            case Unsubscribed():
                return self._unsubscribed(fact)
            case Closed():
                return self._closed(fact)
            case EdgeLost():
                return self._edge_lost(fact)
            case EdgeFound():
                return self._edge_found(fact)
            case Erased():
                return self._erased(fact)
            case Refused() | Refreshed() | Lagged() | CaughtUp() | EdgeStarted() | EdgeDraining() | EdgeStopped():
                return iter(())
            case _:
                assert_never(fact)

    def _opened(self, fact: Opened, batch: EventBatch) -> Iterator[WebhookEvent]:
        if name_of(fact.connection) in self._known:
            return
        one = KnownConnection(
            id=name_of(fact.connection),
            instance=name_of(batch.instance),
            edge=batch.edge,
            opened_at=fact.at,
            user=fact.user,
            client_name=fact.client_name,
            client_version=fact.client_version,
            session_key=fact.session_key,
            address=fact.address,
            transport=fact.transport,
            user_agent=fact.user_agent,
            origin=fact.origin,
        )
        self._add(one)
        self._dirty.add(one.id)
        yield self._connected(one, fact.at)

    def _subscribed(self, fact: Subscribed) -> Iterator[WebhookEvent]:
        one = self._known.get(name_of(fact.connection))
        if one is None or fact.channel in one.channels:
            return
        one.channels.append(fact.channel)
        self._dirty.add(one.id)
        if not one.lost:
            yield from self._enters(one, fact.channel, fact.at, fact.recovered)

    def _unsubscribed(self, fact: Unsubscribed) -> Iterator[WebhookEvent]:
        one = self._known.get(name_of(fact.connection))
        if one is None or fact.channel not in one.channels:
            return
        one.channels.remove(fact.channel)
        self._dirty.add(one.id)
        if not one.lost:
            yield from self._leaves(one, fact.channel, fact.at, fact.code)

    def _closed(self, fact: Closed) -> Iterator[WebhookEvent]:
        one = self._known.get(name_of(fact.connection))
        if one is None:
            return
        self._forget(one)
        if not one.lost:  # otherwise its `disconnected` was sent already
            yield from self._ends(one, fact.at, fact.code, fact.reason)

    def _edge_lost(self, fact: EdgeLost) -> Iterator[WebhookEvent]:
        for one in self._of(name_of(fact.instance)):
            if one.lost:
                continue
            one.lost_at = self._lost[one.id] = fact.at
            self._dirty.add(one.id)
            yield from self._ends(one, fact.at, LOST_CODE, LOST_REASON)
        while len(self._lost) > MAX_LOST:
            self._forget(self._known[next(iter(self._lost))])

    def _edge_found(self, fact: EdgeFound) -> Iterator[WebhookEvent]:
        for one in self._of(name_of(fact.instance)):
            if not one.lost:
                continue
            one.lost_at = None
            self._lost.pop(one.id, None)
            self._dirty.add(one.id)
            yield self._connected(one, fact.at, returned=True)
            for channel in one.channels:
                yield from self._enters(one, channel, fact.at, None)

    def _erased(self, fact: Erased) -> Iterator[WebhookEvent]:
        """Forgets everything about the user. Searches all connections: a second for a million users."""
        digests: dict[str, str] = {"": ""}
        for one in self._known.values():
            if one.user not in digests:
                digests[one.user] = user_digest(identity(one.user))
        # In an order of their own: rows come in any order, and ids must be those of the same events again.
        for one in sorted((one for one in self._known.values() if digests[one.user] == fact.user_digest), key=_age):
            self._forget(one)
            if not one.lost:
                yield from self._ends(one, fact.at, LOST_CODE, ERASED_REASON)

    # --- the events of one connection -----------------------------------------------------------------------------

    def _connected(self, one: KnownConnection, at: int, returned: bool = False) -> Connected:
        return Connected(
            id=next(self._ids),
            at=at,
            connection=one.id,
            user=one.user,
            edge=one.edge,
            client_name=one.client_name,
            client_version=one.client_version,
            session_key=one.session_key,
            address=one.address,
            transport=one.transport,
            user_agent=one.user_agent,
            origin=one.origin,
            returned=returned,
        )

    def _ends(self, one: KnownConnection, at: int, code: int, reason: str) -> Iterator[WebhookEvent]:
        for channel in one.channels:
            yield from self._leaves(one, channel, at, code)
        yield Disconnected(
            id=next(self._ids),
            at=at,
            connection=one.id,
            user=one.user,
            edge=one.edge,
            code=code,
            reason=reason,
            duration_ms=max(0, at - one.opened_at),
        )

    def _enters(self, one: KnownConnection, channel: str, at: int, recovered: bool | None) -> Iterator[WebhookEvent]:
        before = self._occupants.get(channel, 0)
        self._occupants[channel] = before + 1
        if before == 0:
            yield Occupied(next(self._ids), at, channel)
        yield SubscribedTo(
            id=next(self._ids),
            at=at,
            connection=one.id,
            user=one.user,
            edge=one.edge,
            channel=channel,
            recovered=recovered,
        )

    def _leaves(self, one: KnownConnection, channel: str, at: int, code: int) -> Iterator[WebhookEvent]:
        yield UnsubscribedFrom(
            id=next(self._ids), at=at, connection=one.id, user=one.user, edge=one.edge, channel=channel, code=code
        )
        left = self._occupants[channel] - 1
        if left:
            self._occupants[channel] = left
        else:
            del self._occupants[channel]
            yield Vacated(next(self._ids), at, channel)

    # --- what is known --------------------------------------------------------------------------------------------

    def _add(self, one: KnownConnection) -> None:
        self._known[one.id] = one
        self._of_instance[one.instance].add(one.id)
        if one.lost_at is not None:
            self._lost[one.id] = one.lost_at
            return
        for channel in one.channels:
            self._occupants[channel] = self._occupants.get(channel, 0) + 1

    def _forget(self, one: KnownConnection) -> None:
        del self._known[one.id]
        self._lost.pop(one.id, None)
        self._dirty.add(one.id)
        left = self._of_instance[one.instance]
        left.discard(one.id)
        if not left:
            del self._of_instance[one.instance]

    def _of(self, instance: str) -> list[KnownConnection]:
        """The connections of a process, the oldest first."""
        found = [self._known[name] for name in self._of_instance.get(instance, ())]
        return sorted(found, key=_age)

    def _row(self, name: str) -> bytes | None:
        one = self._known.get(name)
        return None if one is None else _encode(one)


def _age(one: KnownConnection) -> tuple[int, str]:
    """Orders connections: the oldest first, and always in the same way."""
    return one.opened_at, one.id


def _ids(first: str) -> Iterator[str]:
    """The ids of the events of one fact, the same whenever it is taken."""
    yield first
    number = 1
    while True:
        yield f"{first}.{number}"
        number += 1
