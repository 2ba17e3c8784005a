"""The model `edges`: the runs of edge processes, from the first word of each to its last, and their connections."""

from __future__ import annotations

from typing import assert_never

from proto.events import EdgeDraining, EdgeStarted, EdgeStopped, EventBatch
from services.sessions.rows import Edge
from services.sessions.state import State
from services.sessions.values import NO_EDGES, label, time_of


def told(state: State, batch: EventBatch, edge: str, instance: str) -> Edge | None:
    """The process `instance` wrote a batch: its row. None if it is no edge."""
    if not batch.events or instance.startswith(NO_EDGES):
        return None
    times = [event.at for event in batch.events]
    first, last = time_of(min(times)), time_of(max(times))
    row = row_of(state, instance, edge, first)
    if first < row.first_at:
        row.first_at = first
    if last > row.last_at:
        row.last_at = last
    return row


def moment(row: Edge, event: EdgeStarted | EdgeDraining | EdgeStopped, at: int) -> None:
    """A moment in the run of an edge, which tells it itself. Each comes once."""
    match event:
        case EdgeStarted():
            row.software = row.software or label(event.software)
            row.started_at = at if row.started_at is None else row.started_at
        case EdgeDraining():
            row.draining_at = at if row.draining_at is None else row.draining_at
        case EdgeStopped():
            row.stopped_at = at if row.stopped_at is None else row.stopped_at
        case _:
            assert_never(event)


def lost(state: State, instance: str, at: int) -> None:
    """The process died at `at`. One that said that it stopped, and has no connection open, did not: whoever noticed its
    silence had not read that yet."""
    row = row_of(state, instance, "", at)
    if row.stopped_at is None or row.opened > row.ended:
        row.lost_at = at


def found(state: State, instance: str, at: int) -> None:
    """The process is alive: it hung from `lost_at` on. If the log begins after the loss, nobody knows since when. Found
    again without a loss in between, it does not count as hung once more."""
    row = row_of(state, instance, "", at)
    lost_at = row.lost_at
    if lost_at is None and row.found_at is not None:
        return
    row.lost_at, row.hung_at = None, lost_at
    row.found_at = at if lost_at is None else max(at, lost_at)  # clocks of edges and of this service differ
    row.times_hung += 1


def row_of(state: State, instance: str, edge: str, at: int) -> Edge:
    """The row of a process, to be changed; a new one, heard at `at`, if there is none."""
    row = state.edges.get(instance)
    if row is None:
        row = state.edges[instance] = Edge(instance, edge, first_at=at, last_at=at)
    elif not row.edge:
        row.edge = edge
    state.changed_edges.add(instance)
    return row
