"""Facts about sessions as edges write them: clients that come, subscribe, and go again, over several edges. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from proto.events import Closed, EventBatch, Opened, SessionEvent, Subscribed, Unsubscribed

EDGES = 4
HELD = 500
"""Clients of an edge that are connected at any time."""

FACTS_OF_A_CLIENT = 4
_START_MS = 1_760_000_000_000
_LOST, _LEFT = 1006, 1000


def batches(events: int, per_batch: int = 200) -> Iterator[EventBatch]:
    """About `events` facts, in the order in which edges in turn would have stored them.

    Each fourth client is lost, and its user is back on the next edge within the resume window: its session goes on.
    """
    clients = max(1, events // FACTS_OF_A_CLIENT // EDGES)
    written = [0] * EDGES
    waiting: list[list[SessionEvent]] = [[] for _ in range(EDGES)]
    for number in range(clients + HELD):
        for edge in range(EDGES):
            waiting[edge] += _facts(edge, number, clients)
            if len(waiting[edge]) >= per_batch or (number == clients + HELD - 1 and waiting[edge]):
                written[edge] += 1
                yield EventBatch(f"edge-{edge}", f"perf-{edge}", written[edge], waiting[edge])
                waiting[edge] = []


def _facts(edge: int, number: int, clients: int) -> list[SessionEvent]:
    """Client `number` of an edge comes, and the one that came `HELD` before it goes."""
    facts: list[SessionEvent] = []
    at = _START_MS + number
    if number < clients:
        name, user = f"{edge}-{number:032}", f"user-{_user(edge, number)}"
        facts.append(Opened(at=at, connection=name, user=user, client_name="js", client_version="5.8.0"))
        facts.append(Subscribed(at=at, connection=name, channel=f"chat:{number % 100}", offset=number))
    gone = number - HELD
    if 0 <= gone < clients:
        name = f"{edge}-{gone:032}"
        facts.append(Unsubscribed(at=at, connection=name, channel=f"chat:{gone % 100}"))
        facts.append(Closed(at=at, connection=name, code=_LOST if gone % 4 == 0 else _LEFT))
    return facts


def _user(edge: int, number: int) -> str:
    """The user of a lost client is that of another one, that comes on the next edge just after it was lost."""
    before = number - HELD - 1
    if before >= 0 and before % 4 == 0:
        return f"{(edge - 1) % EDGES}-{before}"
    return f"{edge}-{number}"
