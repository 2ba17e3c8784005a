"""What the rows of the counting models should be, counted naively from the rows of sessions and from the facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from proto.events import EdgeFound, EdgeLost, EdgeStopped, Erased, EventBatch, Refused
from services.sessions.rows import WIDTHS, DropKey, OpeningKey, RefusalKey
from services.sessions.state import State
from services.sessions.values import text, time_of
from tests.contract.session_rows import subscriptions_of


def subscribers(state: State) -> Counter[str]:
    """By channel: subscriptions without an end, of open connections."""
    return Counter(
        row.channel
        for row in subscriptions_of(state).values()
        if row.until is None and state.connections[row.connection].closed_at is None
    )


def drops(state: State) -> Counter[DropKey]:
    return Counter(
        DropKey(
            width,
            row.closed_at - row.closed_at % width,
            row.edge,
            row.close_code,
            row.close_by,
            state.sessions[row.session_id].client_name,
            row.client_version,
        )
        for row in state.connections.values()
        if row.closed_at is not None and row.close_code is not None
        for width in WIDTHS
    )


def openings(state: State) -> Counter[OpeningKey]:
    return Counter(
        OpeningKey(
            width,
            row.opened_at - row.opened_at % width,
            row.edge,
            state.sessions[row.session_id].client_name,
            row.client_version,
            row.id != row.session_id,
        )
        for row in state.connections.values()
        for width in WIDTHS
    )


def refusals(batches: Iterable[EventBatch]) -> Counter[RefusalKey]:
    counts: Counter[RefusalKey] = Counter()
    for batch in batches:
        for event in batch.events:
            if isinstance(event, Refused):
                at = time_of(event.at)
                for width in WIDTHS:
                    key = RefusalKey(width, at - at % width, text(batch.edge), text(event.action), event.code)
                    counts[key] += event.count
    return counts


def devices(state: State) -> dict[tuple[str, str, str, str], tuple[int, int]]:
    """By device: its sessions, by the version of the first connection, and its connections."""
    sessions: Counter[tuple[str, str, str, str]] = Counter()
    connections: Counter[tuple[str, str, str, str]] = Counter()
    for row in state.connections.values():
        session = state.sessions[row.session_id]
        if session.user:
            key = session.user, session.session_key, session.client_name, row.client_version
            connections[key] += 1
            sessions[key] += row.id == session.id
    return {key: (sessions[key], connections[key]) for key in connections}


def edges(state: State) -> dict[str, tuple[int, int]]:
    """By instance: its connections, and those that have ended."""
    opened = Counter(row.instance for row in state.connections.values())
    ended = Counter(row.instance for row in state.connections.values() if row.closed_at is not None)
    return {instance: (opened[instance], ended[instance]) for instance in opened}


def hangs(batches: list[EventBatch]) -> dict[str, tuple[int, int | None, int | None]]:
    """By instance that was found, and that never stopped: how many times it hung, and from when to when the last time.
    Whether one that stopped can be lost depends on its connections."""
    stopped = {one.instance for one in batches for event in one.events if isinstance(event, EdgeStopped)}
    lost: dict[str, int] = {}
    found: dict[str, tuple[int, int | None, int | None]] = {}
    for event in (event for one in batches for event in one.events):
        if isinstance(event, EdgeLost):
            lost[event.instance] = time_of(event.at)
        elif isinstance(event, EdgeFound) and (event.instance in lost or event.instance not in found):
            times, _, _ = found.get(event.instance, (0, None, None))
            hung_at = lost.pop(event.instance, None)
            found[event.instance] = times + 1, hung_at, max(time_of(event.at), hung_at or 0)
    return {instance: hung for instance, hung in found.items() if instance not in stopped}


def without_erasures(batches: list[EventBatch]) -> list[EventBatch]:
    """The story in which nobody is erased: counts keep what rows have lost."""
    return [
        EventBatch(one.edge, one.instance, one.number, [each for each in one.events if not isinstance(each, Erased)])
        for one in batches
    ]
