"""Rows of the read models put into PostgreSQL without a fold, for tests of what is asked of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

from services.sessions.rows import (
    Channel,
    ChannelHour,
    Connection,
    DropKey,
    Edge,
    OpeningKey,
    Refusal,
    RefusalKey,
    Session,
    Subscription,
    TimelineEntry,
    UserDevice,
)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TABLES: Final[dict[type, str]] = {
    Session: "sessions",
    Connection: "connections",
    Subscription: "subscriptions",
    TimelineEntry: "timeline",
    UserDevice: "user_devices",
    Channel: "channels",
    ChannelHour: "channel_hours",
    Refusal: "refusals",
    Edge: "edges",
}
COUNTS: Final[dict[type, str]] = {DropKey: "drops", OpeningKey: "openings", RefusalKey: "refusal_counts"}
MOMENTS: Final = {"at", "hour", "since", "until", "first_seen", "last_seen", "away_until"}

_ADDED_UP: Final = (
    "DELETE FROM channel_days",
    """INSERT INTO channel_days SELECT channel, date_trunc('day', hour, 'UTC'), max(peak),
    (array_agg(hour ORDER BY peak DESC, hour))[1], sum(subscriptions) FROM channel_hours GROUP BY 1, 2""",
    "DELETE FROM drop_codes",
    "INSERT INTO drop_codes SELECT width, at, code, by, sum(count) FROM drops GROUP BY 1, 2, 3, 4",
    "DELETE FROM drop_versions",
    """INSERT INTO drop_versions SELECT width, at, code, by, client_name, client_version, sum(count) FROM drops
    GROUP BY 1, 2, 3, 4, 5, 6""",
    "DELETE FROM opening_versions",
    """INSERT INTO opening_versions SELECT width, at, client_name, client_version, sum(count) FROM openings
    GROUP BY 1, 2, 3, 4""",
)
"""The tables that the fold adds up from others."""

Row = Struct | tuple[DropKey | OpeningKey | RefusalKey, int]


async def insert(url: str, *rows: Row) -> None:
    """Puts rows into their tables. A count is a pair of its key and the number; only that of its own width is
    written."""
    database = await asyncpg.connect(url)
    try:
        for row in rows:
            table, values = _of(row)
            names = ", ".join(f'"{name}"' for name in values)
            places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
            await database.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *values.values())
        for statement in _ADDED_UP:
            await database.execute(statement)
    finally:
        await database.close()


def _of(row: Row) -> tuple[str, dict[str, Any]]:
    if isinstance(row, tuple):
        key, count = row
        values = {**key._asdict(), "width": key.width // 1000, "count": count}
        return COUNTS[type(key)], {name: _value(name, value) for name, value in values.items()}
    values = {name: getattr(row, name) for name in row.__struct_fields__}
    if "user" in values:
        values["user_id"] = values.pop("user")
    if isinstance(row, Channel):
        values["steps"] = msgspec.json.encode(row.steps).decode()
    if isinstance(row, TimelineEntry):
        values["facts"] = msgspec.json.encode(row.facts).decode()
    return TABLES[type(row)], {name: _value(name, value) for name, value in values.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, int) and (name.endswith("_at") or name in MOMENTS):
        return EPOCH + timedelta(milliseconds=value)
    return value


def entry(connection: str, number: int, *facts: Any) -> TimelineEntry:
    """The facts about a connection in one batch."""
    return TimelineEntry(connection, number, facts[0].at, list(facts))
