"""Folds facts into the rows of all read models, in one pass: pure, without I/O and without a clock.

Each model of `models` says how a fact changes its rows; this module says in which order they learn of it.
`models.sessions` decides what a session is. Facts may come late, repeatedly, or about unknown connections: a repeated
fact changes nothing, and a fact about a connection whose opening is not known is only counted.
docs/decisions/0040-read-models-in-one-pass.md has the reasons.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, assert_never

from proto.events import (
    BY_LOSS,
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
    OfConnection,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
)
from services.sessions.models import channels, drops, edges, erasure, refusals, sessions, timeline, users, versions
from services.sessions.rows import EDGE_LOST_CODE, EDGE_LOST_REASON, MAX_CODE, MAX_TIME, Connection, Edge
from services.sessions.state import State
from services.sessions.values import label, name_of, text, time_of

NAME: Final = "sessions-1"
"""Whoever moves the positions holds the lock of this one, and its value is the position of all. This name stays even if
`sessions` gets another number: processes of two versions must use the same lock."""

NAMES: Final[Mapping[str, str]] = {
    "sessions": "sessions-1",
    "timeline": "timeline-1",
    "users": "users-1",
    "channels": "channels-1",
    "drops": "drops-1",
    "versions": "versions-1",
    "refusals": "refusals-2",
    "edges": "edges-2",
}
"""The read models, and the name under which the position of each is stored. All positions move together. Whoever
changes how a model is folded gives it a new number, and its rows must then be rebuilt. Decision 41 has the
exception."""


class Writer:
    """The writer of the batch that is being folded: the row of its edge, None if it is not an edge; and its notes for
    timelines."""

    __slots__ = ("edge", "instance", "notes", "row")

    def __init__(self, edge: str, instance: str, row: Edge | None) -> None:
        self.edge = edge
        self.instance = instance
        self.row = row
        self.notes: timeline.Notes = defaultdict(list)


def fold(state: State, batches: Iterable[EventBatch]) -> State:
    """Applies the facts of `batches`, in order. Changes `state` in place and returns it."""
    for batch in batches:
        edge, instance, number = label(batch.edge), name_of(batch.instance), batch.number
        writer = Writer(edge, instance, edges.told(state, batch, edge, instance))
        for event in batch.events:
            at = event.at
            _apply(state, event, at if 0 <= at <= MAX_TIME else time_of(at), writer, number)
        timeline.settle(state, writer.notes, number)
        state.events += len(batch.events)
    drops.settle(state)
    versions.settle(state)
    return state


def apply(state: State, event: SessionEvent, edge: str = "", instance: str = "", number: int = 1) -> State:
    """Applies one fact, as a batch that the process `instance` of `edge` wrote."""
    return fold(state, [EventBatch(edge, instance, number, [event])])


def _apply(state: State, event: SessionEvent, at: int, writer: Writer, number: int) -> None:
    match event:
        case Opened():
            _opened(state, event, at, writer)
        case Subscribed():
            _subscribed(state, event, at, writer)
        case Unsubscribed():
            _unsubscribed(state, event, at, writer)
        case Closed():
            _closed(state, event, at, writer)
        case Refreshed() | Lagged() | CaughtUp():
            connection = _known(state, event)
            if connection is not None:
                writer.notes[connection.id].append(event)
        case Refused():
            _refused(state, event, at, writer)
        case EdgeLost():
            _edge_lost(state, event, at)
        case EdgeFound():
            _edge_found(state, event, at)
        case EdgeStarted() | EdgeDraining() | EdgeStopped():
            if writer.row is not None:
                edges.moment(writer.row, event, at)
        case Erased():
            timeline.settle(state, writer.notes, number)
            erasure.erase(state, event.user_digest, at)
        case _:
            assert_never(event)


def _opened(state: State, event: Opened, at: int, writer: Writer) -> None:
    name = name_of(event.connection)
    if name in state.connections or (at <= state.erased_until and erasure.is_erased(state, event.user, at)):
        return
    edge, instance = writer.edge, writer.instance
    session, connection = sessions.opened(state, event, name, at, edge, instance)
    first = session.id == name
    users.count(state, session, connection.client_version, at, int(first), 1)
    versions.opened(state, connection, session.client_name, not first)
    row = writer.row or edges.row_of(state, instance, edge, at)
    row.opened += 1
    writer.notes[name].append(event)


def _subscribed(state: State, event: Subscribed, at: int, writer: Writer) -> None:
    connection = _known(state, event)
    if connection is None:
        return
    channel = text(event.channel)
    began = sessions.subscribed(state, event, connection, channel, at)
    if began is None:
        return
    if began:
        channels.subscribed(state, connection, channel, at)
    writer.notes[connection.id].append(event)


def _unsubscribed(state: State, event: Unsubscribed, at: int, writer: Writer) -> None:
    connection = _known(state, event)
    if connection is None:
        return
    channel = text(event.channel)
    if sessions.unsubscribed(state, connection.id, channel, at):
        channels.unsubscribed(state, connection, channel, at)
        writer.notes[connection.id].append(event)


def _closed(state: State, event: Closed, at: int, writer: Writer) -> None:
    connection = _known(state, event)
    if connection is not None and (connection.closed_at is None or connection.was_lost):
        # The edge's own word overrides the guess that it was lost.
        if connection.closed_at is None:
            channels.closed(state, connection, max(at, connection.opened_at))
        _end(state, connection, at, min(event.code, MAX_CODE), text(event.reason), label(event.by))
        writer.notes[connection.id].append(event)


def _refused(state: State, event: Refused, at: int, writer: Writer) -> None:
    if at <= state.erased_until and erasure.is_erased(state, event.user, at):
        return
    refusals.refused(state, event, at, writer.edge, writer.instance)
    name = name_of(event.connection)
    if name in state.connections:
        writer.notes[name].append(event)


def _known(state: State, event: OfConnection) -> Connection | None:
    """The connection of a fact. None if its opening is not known: then the fact is only counted."""
    connection = state.connections.get(event.connection) or state.connections.get(name_of(event.connection))
    if connection is None:
        state.unknown += 1
    return connection


def _end(state: State, connection: Connection, at: int, code: int, reason: str, by: str) -> None:
    """Closes a connection, of which its channels know already; or corrects how it closed."""
    at = max(at, connection.opened_at)
    session = state.sessions.get(connection.session_id)
    client_name = "" if session is None else session.client_name
    if connection.closed_at is None:
        edges.row_of(state, connection.instance, connection.edge, at).ended += 1
    else:
        drops.count(state, connection, client_name, -1)
    later = sessions.closed(state, connection, at, code, reason, by)
    drops.count(state, connection, client_name)
    if session is not None:
        users.count(state, session, connection.client_version, at, 0, 0)
    if later is not None:
        first = state.connections.get(later.id)  # a session bears the name of its first connection
        users.absorbed(state, later, first)
        if first is not None:
            versions.resumed_after_all(state, first, later.client_name)


def _edge_lost(state: State, event: EdgeLost, at: int) -> None:
    instance = name_of(event.instance)
    state.edges_lost += 1
    edges.lost(state, instance, at)
    gone = [one for one in state.unsettled(instance) if one.closed_at is None]
    channels.lost(state, gone, at)
    for connection in sorted(gone, key=_age):
        _end(state, connection, at, EDGE_LOST_CODE, EDGE_LOST_REASON, BY_LOSS)


def _edge_found(state: State, event: EdgeFound, at: int) -> None:
    instance = name_of(event.instance)
    edges.found(state, instance, at)
    back = [one for one in state.unsettled(instance) if one.closed_at is not None]
    for connection in sorted(back, key=_age, reverse=True):  # a session that had ended names its newest one
        session = state.sessions.get(connection.session_id)
        drops.count(state, connection, "" if session is None else session.client_name, -1)
        sessions.reopened(state, connection)
        edges.row_of(state, instance, connection.edge, at).ended -= 1
    channels.found(state, back, at)


def _age(connection: Connection) -> tuple[int, str]:
    return connection.opened_at, connection.id
