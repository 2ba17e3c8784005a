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
from services.sessions.projection import lineage_of, name_of, text, time_of
from services.sessions.state import State


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
    """The rows that a fold may touch: `connections` by id, `subscriptions` by key (connection, channel), the open
    connections of the instances in `lost` (with the moments of their loss), and the lost ones of those in `found`."""

    def __init__(self) -> None:
        self.connections: set[str] = set()
        self.subscriptions: set[tuple[str, str]] = set()
        self.lost: dict[str, list[int]] = {}  # instance -> when
        self.found: set[str] = set()
        self._opened: dict[str, Span] = {}
        self._closed: list[tuple[str, int]] = []
        self._in_batch: dict[str, _InBatch] = {}

    def add(self, batch: EventBatch) -> None:
        """Adds what folding `batch` may touch."""
        for event in batch.events:
            match event:
                case Opened():
                    self._add_opened(event, name_of(batch.instance))
                case Closed():
                    self.connections.add(name_of(event.connection))
                    self._closed.append((name_of(event.connection), time_of(event.at)))
                case Subscribed():
                    self.connections.add(name_of(event.connection))
                case Unsubscribed():
                    self.connections.add(name_of(event.connection))
                    self.subscriptions.add((name_of(event.connection), text(event.channel)))
                case EdgeLost():
                    self.lost.setdefault(name_of(event.instance), []).append(time_of(event.at))
                case EdgeFound():
                    self.found.add(name_of(event.instance))
                case (
                    Refused()
                    | Refreshed()
                    | Lagged()
                    | CaughtUp()
                    | EdgeStarted()
                    | EdgeDraining()
                    | EdgeStopped()
                    | Erased()
                ):
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

    def ends(self, state: State) -> list[Span]:
        """The lineages of the sessions that may end in the batch, with the times of their ends.

        `state` must have the connections that the batch mentions, and their sessions, unless their rows are gone.
        """
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
