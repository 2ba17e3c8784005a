"""The read set of a batch of facts: the rows that it may touch, which a store must load before it can fold. Pure.

It may contain too much, but never too little: a fold over the loaded rows must give the same result as one over all
rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
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
from services.sessions.rows import Connection
from services.sessions.state import State
from services.sessions.subscriptions import Key
from services.sessions.values import lineage_of, name_of, text, time_of


class Span(NamedTuple):
    """Facts about one lineage: the times of the first and last (Unix milliseconds), and their number."""

    lineage: str
    first: int
    last: int
    facts: int


def _join(spans: dict[str, tuple[int, int, int]], lineage: str, at: int) -> None:
    """Adds a fact at the time `at` to the spans, which are tuples (first, last, facts) here."""
    span = spans.get(lineage)
    if span is None:
        spans[lineage] = at, at, 1
    else:
        first, last, facts = span
        spans[lineage] = min(first, at), max(last, at), facts + 1


class ReadSet:
    """The rows that a fold may touch: `connections` by id, the open connections of the instances in `lost` (with the
    moments of their loss), the lost connections of the instances in `found`, and the open connections of the users in
    `erased`; all with their sessions. Once these are loaded, the methods say which other rows it may touch.

    For the `connections` in `opening`, the opening is the first fact: unless it is a repetition they are new, and have
    no row."""

    def __init__(self) -> None:
        self.connections: set[str] = set()
        self.opening: set[str] = set()
        self.lost: dict[str, list[int]] = {}  # instance -> when
        self.found: set[str] = set()
        self.erased: dict[str, int] = {}  # digests of users -> up to when
        self._instances: set[str] = set()
        self._channels: list[Subscribed | Unsubscribed] = []
        self._opened: list[tuple[Opened, str]] = []  # openings that may have a lineage, and the instances
        self._first_opened = math.inf
        self._closed: list[Closed] = []
        self._first_closed = math.inf

    def add(self, batch: EventBatch) -> None:
        """Adds what folding `batch` may touch."""
        instance, connections = name_of(batch.instance), self.connections
        self._instances.add(instance)
        for event in batch.events:
            match event:
                case Opened():
                    self._add_opened(event, instance)
                case Subscribed() | Unsubscribed():
                    if event.connection not in connections:
                        connections.add(name_of(event.connection))
                    self._channels.append(event)
                case Closed():
                    if event.connection not in connections:
                        connections.add(name_of(event.connection))
                    self._closed.append(event)
                    if event.at < self._first_closed:
                        self._first_closed = time_of(event.at)
                case Refreshed() | Lagged() | CaughtUp():
                    connections.add(name_of(event.connection))
                case Refused():
                    if event.connection:
                        connections.add(name_of(event.connection))
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
        connection = name_of(event.connection)
        if connection not in self.connections:
            self.connections.add(connection)
            self.opening.add(connection)
        if event.user or event.session_key:
            self._opened.append((event, instance))
            if event.at < self._first_opened:
                self._first_opened = time_of(event.at)

    def instances(self) -> set[str]:
        """The instances of edges that may be touched, beside those of `connections`."""
        return self._instances | self.lost.keys() | self.found

    def opens_before(self, moment: float) -> bool:
        """Whether a connection with a lineage is opened in the batch before `moment`."""
        return self._first_opened < moment

    def ends_before(self, moment: float) -> bool:
        """Whether a connection may end in the batch before `moment`: no span of `ends` is earlier."""
        return self._first_closed < moment or any(at < moment for moments in self.lost.values() for at in moments)

    # --- other rows, found by those in `state`, which must have the rows of the attributes, unless these are gone -----

    def whole(self, state: State) -> set[str]:
        """The connections of which all open subscriptions may be touched, as the connection may end, or turn out not to
        have ended."""
        names = {name_of(event.connection) for event in self._closed} & state.connections.keys()
        if self.lost or self.found or self.erased:
            names.update(
                row.id
                for row in state.connections.values()
                if row.instance in self.lost or row.instance in self.found or self.erased
            )
        return {name for name in names if state.connections[name].closed_at is None or state.connections[name].was_lost}

    def closed(self, state: State) -> set[str]:
        """The connections that closed for good, and that a fact about a channel names: their open subscriptions may be
        touched, like those of `whole`."""
        rows = map(state.connections.__getitem__, self.connections & state.connections.keys())
        over = {row.id for row in rows if row.closed_at is not None and not row.was_lost}
        return over and over & {name_of(event.connection) for event in self._channels}

    def begun(self, state: State) -> set[Key]:
        """The subscriptions that begin in the batch. If their beginning is a repetition, they are stored, and may have
        ended since."""
        known, told = state.connections, (event for event in self._channels if isinstance(event, Subscribed))
        return {
            (name, text(event.channel), time_of(event.at))
            for event in told
            if (name := name_of(event.connection)) in known
        }

    def channels(self, state: State) -> set[str]:
        """The channels that may be touched. `state` must have the subscriptions, too."""
        names = {text(channel) for channel in {event.channel for event in self._channels}}
        for connection in self.whole(state):
            names.update(state.subscriptions.of(connection))
        return names

    def ends(self, state: State) -> list[Span]:
        """The lineages of the sessions that may end in the batch, with the times of their ends."""
        spans: dict[str, tuple[int, int, int]] = {}
        in_batch: dict[str, tuple[str, str, int]] = {}
        for event, lineage, instance in self._openings():
            in_batch.setdefault(name_of(event.connection), (lineage, instance, time_of(event.at)))  # as the fold does
        for closed in self._closed:
            connection, at = name_of(closed.connection), time_of(closed.at)
            row, new = state.connections.get(connection), in_batch.get(connection)
            if row is not None:
                self._end(spans, state, row, at)
            elif new is not None:
                lineage, _, opened_at = new
                _join(spans, lineage, max(at, opened_at))
        if self.lost:
            for row in state.connections.values():
                for at in self.lost.get(row.instance, ()):
                    self._end(spans, state, row, at)
            for lineage, instance, opened_at in in_batch.values():
                for at in self.lost.get(instance, ()):
                    _join(spans, lineage, max(at, opened_at))
        return [Span(lineage, *span) for lineage, span in spans.items()]

    @staticmethod
    def _end(spans: dict[str, tuple[int, int, int]], state: State, row: Connection, at: int) -> None:
        session = state.sessions.get(row.session_id)
        if session is not None and session.lineage is not None:
            _join(spans, session.lineage, max(at, row.opened_at))  # as the fold does

    def returns(self, ends: Iterable[Span], state: State) -> list[Span]:
        """The lineages that open connections in the batch. `facts` is how many sessions that are away these may need.

        Sessions that end in the batch (`ends` as above), or that are in `state` already, may be among them.
        """
        ending = {span.lineage: span.facts for span in ends}
        spans: dict[str, tuple[int, int, int]] = {}
        for event, lineage, _ in self._openings():
            _join(spans, lineage, time_of(event.at))
        return [
            Span(lineage, first, last, facts + state.sessions_of(lineage) + ending.get(lineage, 0))
            for lineage, (first, last, facts) in spans.items()
        ]

    def _openings(self) -> Iterator[tuple[Opened, str, str]]:
        """The connections that are opened with a lineage: the fact, the lineage, and the instance."""
        for event, instance in self._opened:
            lineage = lineage_of(event.user, event.session_key, event.client_name)
            if lineage is not None:
                yield event, lineage, instance


def read_set_of(batches: Iterable[EventBatch]) -> ReadSet:
    """The read set of these batches together."""
    read_set = ReadSet()
    for batch in batches:
        read_set.add(batch)
    return read_set
