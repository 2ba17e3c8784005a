"""The story of docs/sessions.md: a day on which edges were replaced and one of them died, as the log has it.

Two edges run Fairlead 0.1.0. At 14:02 the first is stopped for a deploy and comes back with 0.2.0; at 14:10 the second
is killed, and at 14:23 the one in its place hangs. Of the clients that the drain closed, alice comes back from another
network. What each user went through is known, so that answers can be checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from proto.events import (
    BY_CLIENT,
    BY_DRAIN,
    BY_EDGE,
    BY_NETWORK,
    CaughtUp,
    Closed,
    EdgeDraining,
    EdgeFound,
    EdgeLost,
    EdgeStarted,
    EdgeStopped,
    EventBatch,
    Lagged,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
)
from services.chassis.postgres.pool import Pool
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore

NOW: Final = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)
"""When the questions are asked."""

WINDOW_MS: Final = 60_000

_COMMITTED: Final = 3
"""Batches in a commit."""

OLD_1, OLD_2, NEW_1, NEW_2 = "e1-5f0a", "e2-91bc", "e1-c7d2", "e2-03aa"

CLIENTS: Final[dict[str, dict[str, Any]]] = {
    "alice": {"client_name": "js", "client_version": "5.8.0", "address": "203.0.113.7", "session_key": "laptop"},
    "bob": {"client_name": "swift", "client_version": "0.4.1", "address": "198.51.100.20"},
    "carol": {"client_name": "js", "client_version": "5.7.2", "address": "203.0.113.7"},
    "dave": {"client_name": "js", "client_version": "5.8.0", "address": "192.0.2.61"},
    "erin": {"client_name": "js", "client_version": "5.8.0", "address": "192.0.2.88"},
}


def ms(text: str) -> int:
    """A time of that day, such as 14:02:11.250, in Unix milliseconds."""
    return round(datetime.fromisoformat(f"2026-11-28T{text}").replace(tzinfo=UTC).timestamp() * 1000)


ANOTHER_NETWORK: Final = "192.0.2.140"
"""From which alice comes after the drain of edge-1."""


def opened(at: str, connection: str, user: str, **more: Any) -> Opened:
    told = CLIENTS[user] | more
    return Opened(at=ms(at), connection=connection, user=user, transport="websocket", encoding="json", **told)


def subscribed(at: str, connection: str, channel: str, **more: Any) -> Subscribed:
    return Subscribed(at=ms(at), connection=connection, channel=channel, **more)


def closed(at: str, connection: str, code: int, reason: str, by: str, **more: Any) -> Closed:
    return Closed(at=ms(at), connection=connection, code=code, reason=reason, by=by, **more)


def recovered(at: str, connection: str, after: int, count: int) -> Subscribed:
    return subscribed(
        at,
        connection,
        "chat:lobby",
        recovered=True,
        recovered_from=after,
        recovered_count=count,
        offset=after + count,
    )


def refused(at: str, action: str, code: int, reason: str, user: str = "", **more: Any) -> Refused:
    told = {name: value for name, value in CLIENTS.get(user, {}).items() if name != "session_key"}
    return Refused(at=ms(at), action=action, code=code, reason=reason, user=user, **(told | more))


MALLORY: Final = {"address": "198.51.100.99", "client_name": "curl", "client_version": "8.5"}

PARTS: Final[list[tuple[str, str, list[SessionEvent]]]] = [
    ("edge-1", OLD_1, [EdgeStarted(at=ms("12:00:00"), software="0.1.0")]),
    ("edge-2", OLD_2, [EdgeStarted(at=ms("12:00:04"), software="0.1.0")]),
    ("edge-1", OLD_1, [opened("12:40:00", "carol-1", "carol"), subscribed("12:40:01", "carol-1", "chat:lobby")]),
    (
        "edge-2",
        OLD_2,
        [
            opened("13:20:00", "bob-1", "bob"),
            subscribed("13:20:01", "bob-1", "chat:lobby", offset=20),
            subscribed("13:20:01", "bob-1", "news"),
        ],
    ),
    (
        "edge-1",
        OLD_1,
        [
            opened("13:50:12", "alice-1", "alice"),
            subscribed("13:50:12.300", "alice-1", "chat:lobby", offset=38),
            subscribed("13:50:12.300", "alice-1", "news"),
        ],
    ),
    (
        "edge-1",
        OLD_1,
        [
            refused("13:55:03", "connect", 3500, "invalid token", count=40, **MALLORY),
            refused("13:56:10", "subscribe", 103, "permission denied", "bob", channel="chat:staff"),
        ],
    ),
    ("edge-2", OLD_2, [opened("13:58:00", "erin-1", "erin"), subscribed("13:58:01", "erin-1", "news")]),
    ("edge-2", OLD_2, [closed("14:01:00", "erin-1", 1000, "", BY_CLIENT, messages_out=3, bytes_out=612)]),
    # The deploy: edge-1 drains, its clients go to edge-2, and it comes back with another version.
    ("edge-1", OLD_1, [EdgeDraining(at=ms("14:02:10"), connections=2)]),
    (
        "edge-2",
        OLD_2,
        [
            opened("14:02:12.450", "alice-2", "alice", address=ANOTHER_NETWORK),
            recovered("14:02:12.500", "alice-2", 41, 3),
            subscribed("14:02:12.500", "alice-2", "news"),
        ],
    ),
    (
        "edge-1",
        OLD_1,
        [
            closed(
                "14:02:11.250",
                "alice-1",
                1001,
                "shutdown",
                BY_DRAIN,
                messages_in=6,
                messages_out=31,
                bytes_in=840,
                bytes_out=9_320,
                offsets={"chat:lobby": 41},
            ),
            closed("14:02:11.400", "carol-1", 1001, "shutdown", BY_DRAIN, offsets={"chat:lobby": 41}),
            EdgeStopped(at=ms("14:02:12")),
        ],
    ),
    (
        "edge-2",
        OLD_2,
        [
            opened("14:02:14", "carol-2", "carol"),
            subscribed("14:02:14.100", "carol-2", "chat:lobby", recovered=False, recovered_from=12, offset=44),
        ],
    ),
    ("edge-1", NEW_1, [EdgeStarted(at=ms("14:02:40"), software="0.2.0")]),
    (
        "edge-1",
        NEW_1,
        [opened("14:05:00", "dave-1", "dave"), subscribed("14:05:00.200", "dave-1", "chat:lobby", offset=44)],
    ),
    ("edge-2", OLD_2, [Refreshed(at=ms("14:08:00"), connection="alice-2", expires_at=ms("15:08:00"))]),
    # edge-2 is killed.
    ("sessions-8201", f"watch-{OLD_2}", [EdgeLost(at=ms("14:10:00"), instance=OLD_2)]),
    (
        "edge-1",
        NEW_1,
        [
            opened("14:10:03.200", "alice-3", "alice", address=ANOTHER_NETWORK),
            recovered("14:10:03.250", "alice-3", 57, 0),
            subscribed("14:10:03.250", "alice-3", "news"),
            opened("14:10:04", "carol-3", "carol"),
            recovered("14:10:04.100", "carol-3", 57, 0),
        ],
    ),
    ("edge-2", NEW_2, [EdgeStarted(at=ms("14:10:30"), software="0.2.0")]),
    # With the new version a client in an old version is too slow.
    (
        "edge-1",
        NEW_1,
        [
            Lagged(at=ms("14:14:02"), connection="alice-3", waiting=70_000),
            CaughtUp(at=ms("14:14:02.900"), connection="alice-3", lagged_ms=900),
            Lagged(at=ms("14:15:00"), connection="carol-3", waiting=1_200_000),
            closed("14:15:10", "carol-3", 3008, "slow", BY_EDGE, messages_out=400, bytes_out=1_800_000),
            opened("14:15:12", "carol-4", "carol"),
            recovered("14:15:12.200", "carol-4", 58, 2),
            closed("14:20:30", "carol-4", 3008, "slow", BY_EDGE, messages_out=380, bytes_out=1_750_000),
        ],
    ),
    ("edge-2", NEW_2, [opened("14:20:33", "carol-5", "carol"), recovered("14:20:33.100", "carol-5", 60, 1)]),
    # edge-2 hangs, and goes on: its client has noticed nothing.
    ("sessions-8201", f"watch-{NEW_2}", [EdgeLost(at=ms("14:23:05"), instance=NEW_2)]),
    ("sessions-8201", f"watch-{NEW_2}", [EdgeFound(at=ms("14:23:13"), instance=NEW_2)]),
    (
        "edge-1",
        NEW_1,
        [
            Unsubscribed(at=ms("14:22:00"), connection="alice-3", channel="chat:lobby"),
            closed("14:25:00", "dave-1", 3012, "no pong", BY_NETWORK, offsets={"chat:lobby": 61}),
            refused(
                "14:26:00",
                "publish",
                111,
                "too many requests",
                "alice",
                channel="news",
                count=12,
                address=ANOTHER_NETWORK,
                transport="websocket",
            ),
        ],
    ),
]


def batches() -> Iterator[EventBatch]:
    """The story as the log has it, oldest first; batches of each edge numbered from 1."""
    numbers: dict[str, int] = {}
    for edge, instance, events in PARTS:
        numbers[instance] = numbers.get(instance, 0) + 1
        yield EventBatch(edge=edge, instance=instance, number=numbers[instance], events=events)


async def tell(url: str) -> None:
    """Folds the story into the database, as services do that take over from each other: a commit for each few batches,
    by a store that finds the rows of the commits before in the tables."""
    story, before = list(batches()), ORIGIN
    async with Pool(url, 1) as pool:
        for end in range(_COMMITTED, len(story) + _COMMITTED, _COMMITTED):
            position = Position("epoch", min(end, len(story)))
            await PostgresStore(pool, WINDOW_MS).commit(before, position, story[end - _COMMITTED : end])
            before = position
