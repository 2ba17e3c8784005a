"""The read set of a batch of facts: the rows that it may touch, which a store must load before it can fold. Pure.

It may contain too much, but never too little: a fold over the loaded rows must give the same as one over all rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, assert_never

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
    Subscribed,
    Unsubscribed,
)
from services.sessions.state import State
from services.sessions.values import lineage_of, name_of, text, time_of


class Span(NamedTuple):
    """Facts about one lineage: the times of the first and last (Unix milliseconds), and their number."""

    lineage: str
    first: int
    last: int
    facts: int

    def joined(self, at: int) -> Span:
        """The span with one more fact, at the time `at`."""
        return Span(self.lineage, min(self.first, at), max(self.last, at), self.facts + 1)


class _InBatch(NamedTuple):
    """A connection with a lineage that the batch opens."""

    lineage: str
    instance: str
    opened_at: int


class ReadSet:
    """The rows that a fold may touch: `connections` by id, the open connections of the instances in `lost` (with the
    moments of their loss), the lost ones of those in `found`, and the open ones of the users in `erased`; all with
    their sessions. What else it may touch, the methods say when these are loaded."""

    def __init__(self) -> None:
        self.connections: set[str] = set()
        self.lost: dict[str, list[int]] = {}  # instance -> when
        self.found: set[str] = set()
        self.erased: dict[str, int] = {}  # digests of users -> up to when
        self._subscriptions: set[tuple[str, str]] = set()
        self._instances: set[str] = set()
        self._opened: dict[str, Span] = {}
        self._closed: list[tuple[str, int]] = []
        self._in_batch: dict[str, _InBatch] = {}

    def add(self, batch: EventBatch) -> None:
        """Adds what folding `batch` may touch."""
        instance = name_of(batch.instance)
        self._instances.add(instance)
        for event in batch.events:
            match event:
                case Opened():
                    self._add_opened(event, instance)
                case Closed():
                    connection = name_of(event.connection)
                    self.connections.add(connection)
                    self._closed.append((connection, time_of(event.at)))
                case Subscribed() | Unsubscribed():
                    connection = name_of(event.connection)
                    self.connections.add(connection)
                    self._subscriptions.add((connection, text(event.channel)))
                case Refreshed() | Lagged() | CaughtUp():
                    self.connections.add(name_of(event.connection))
                case Refused():
                    if event.connection:
                        self.connections.add(name_of(event.connection))
                case EdgeLost():
                    self.lost.setdefault(name_of(event.instance), []).append(time_of(event.at))
                case EdgeFound():
                    self.found.add(name_of(event.instance))
                case Erased():
                    self.erased[event.user_digest] = max(time_of(event.at), self.erased.get(event.user_digest, 0))
                case EdgeStarted() | EdgeDraining() | EdgeStopped():
                    pass
                case _:
                    assert_never(event)

    def _add_opened(self, event: Opened, instance: str) -> None:
        connection, at = name_of(event.connection), time_of(event.at)
        self.connections.add(connection)
        lineage = lineage_of(event.user, event.session_key, event.client_name)
        if lineage is not None:
            self._opened[lineage] = self._opened.get(lineage, Span(lineage, at, at, 0)).joined(at)
            self._in_batch.setdefault(connection, _InBatch(lineage, instance, at))  # the fold keeps the first, too

    # --- what else, by the rows in `state`, which must have what the attributes say, unless their rows are gone -------

    def whole(self, state: State) -> set[str]:
        """The connections all of whose subscriptions without an end may be touched: the connection may end, or turn out
        not to have ended."""
        names = {name for name, _ in self._closed if name in state.connections}
        if self.lost or self.found or self.erased:
            names.update(
                row.id
                for row in state.connections.values()
                if row.instance in self.lost or row.instance in self.found or self.erased
            )
        return {name for name in names if state.connections[name].closed_at is None or state.connections[name].was_lost}

    def subscriptions(self, state: State) -> set[tuple[str, str]]:
        """The keys of subscriptions that may be touched beside those of `whole`: a new connection has none yet."""
        return {key for key in self._subscriptions if key[0] in state.connections}

    def channels(self, state: State) -> set[str]:
        """The channels that may be touched. `state` must have the subscriptions, too."""
        names = {channel for _, channel in self._subscriptions}
        for connection in self.whole(state):
            names.update(state.open_channels(connection))
        return names

    def edges(self, state: State) -> set[str]:
        """The instances of edges that may be touched."""
        return self._instances | self.lost.keys() | self.found | {row.instance for row in state.connections.values()}

    def ends(self, state: State) -> list[Span]:
        """The lineages of the sessions that may end in the batch, with the times of their ends."""
        spans: dict[str, Span] = {}

        def lineage_of_session(id_: str) -> str | None:
            session = state.sessions.get(id_)
            return None if session is None else session.lineage

        def end(lineage: str | None, at: int, opened_at: int) -> None:
            if lineage is not None:
                at = max(at, opened_at)  # as the fold does
                spans[lineage] = spans.get(lineage, Span(lineage, at, at, 0)).joined(at)

        for connection, at in self._closed:
            row, new = state.connections.get(connection), self._in_batch.get(connection)
            if row is not None:
                end(lineage_of_session(row.session_id), at, row.opened_at)
            elif new is not None:
                end(new.lineage, at, new.opened_at)
        if self.lost:
            for row in state.connections.values():
                for at in self.lost.get(row.instance, ()):
                    end(lineage_of_session(row.session_id), at, row.opened_at)
            for new in self._in_batch.values():
                for at in self.lost.get(new.instance, ()):
                    end(new.lineage, at, new.opened_at)
        return list(spans.values())

    def returns(self, ends: Iterable[Span], state: State) -> list[Span]:
        """The lineages that open connections in the batch. `facts` is how many sessions that are away it may use up.

        A session that ends in the batch (`ends` as above), or that is in `state` already, may be one of them.
        """
        used = Counter(row.lineage for row in state.sessions.values())
        used.update({span.lineage: span.facts for span in ends})
        return [span._replace(facts=span.facts + used[span.lineage]) for span in self._opened.values()]


def read_set_of(batches: Iterable[EventBatch]) -> ReadSet:
    """The read set of these batches together."""
    read_set = ReadSet()
    for batch in batches:
        read_set.add(batch)
    return read_set
