"""Session events as edges write them: clients of several edges that connect, subscribe, and leave. Pure."""

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
    """About `events` session events, in the order in which edges in turn would have stored them.

    Each fourth client is lost, and its user connects to the next edge within the resume window, so its session
    continues.
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
    """Client `number` of an edge connects, and the one that connected `HELD` before it leaves."""
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
    """The user of a lost client is also the user of one that connects to the next edge just after the loss."""
    before = number - HELD - 1
    if before >= 0 and before % 4 == 0:
        return f"{(edge - 1) % EDGES}-{before}"
    return f"{edge}-{number}"
