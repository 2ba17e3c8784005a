"""Session events as edges write them: clients of several edges that connect, subscribe, and leave. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from proto.events import BY_CLIENT, BY_NETWORK, Closed, EventBatch, Opened, SessionEvent, Subscribed, Unsubscribed

EDGES = 4
HELD = 500
"""How many clients of an edge are connected at any time."""

FACTS_OF_A_CLIENT = 4
_START_MS = 1_760_000_000_000
_LOST, _LEFT = 1006, 1000
_VERSIONS = ("5.8.0", "5.8.1", "5.9.0")
_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"


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
    """Client `number` of an edge connects, and the client that connected `HELD` clients earlier leaves."""
    facts: list[SessionEvent] = []
    at = _START_MS + number
    if number < clients:
        name, user = f"{edge}-{number:032}", f"user-{_user(edge, number)}"
        back = _lost_before(number) is not None
        facts.append(
            Opened(
                at=at,
                connection=name,
                user=user,
                client_name="js",
                client_version=_VERSIONS[number % len(_VERSIONS)],
                address=f"203.0.113.{number % 200}",
                transport="websocket",
                user_agent=_USER_AGENT,
                origin="https://app.example",
                encoding="json",
            )
        )
        recovery = (True, number, number - 3, 3) if back else (None, number, 0, 0)
        facts.append(Subscribed(at, name, f"chat:{number % 100}", *recovery))
    gone = number - HELD
    if 0 <= gone < clients:
        name = f"{edge}-{gone:032}"
        lost, channel = gone % 4 == 0, f"chat:{gone % 100}"
        facts.append(Unsubscribed(at=at, connection=name, channel=channel, by=BY_CLIENT))
        facts.append(
            Closed(
                at=at,
                connection=name,
                code=_LOST if lost else _LEFT,
                by=BY_NETWORK if lost else BY_CLIENT,
                messages_in=2 + gone % 7,
                messages_out=3 + gone % 90,
                bytes_in=211 + gone % 700,
                bytes_out=4_307 + gone % 9_000,
                heard_at=at - 40,
                offsets={channel: gone + 3},
            )
        )
    return facts


def _user(edge: int, number: int) -> str:
    """The user of a client. A lost client has the same user as a client that connects to the next edge just after the
    loss."""
    before = _lost_before(number)
    return f"{edge}-{number}" if before is None else f"{(edge - 1) % EDGES}-{before}"


def _lost_before(number: int) -> int | None:
    """The client of the previous edge that is lost just before client `number` of an edge connects, if there is one."""
    before = number - HELD - 1
    return before if before >= 0 and before % 4 == 0 else None
