"""Converts the rows of the read models between PostgreSQL and the fold."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import asyncpg
from msgspec import json

from services.sessions.rows import (
    Channel,
    ChannelHour,
    Connection,
    Edge,
    Refusal,
    Session,
    Steps,
    Subscription,
    TimelineEntry,
    UserDevice,
)

_encode = json.Encoder().encode
_decode_steps = json.Decoder(Steps).decode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MOMENTS: Final = 4096
"""Cached times: facts that are folded together share many."""


@lru_cache(_MOMENTS)
def moment(ms: int) -> datetime:
    """Unix milliseconds as the type that PostgreSQL's driver uses."""
    return _EPOCH + timedelta(milliseconds=ms)


def milliseconds(at: datetime) -> int:
    """A time of PostgreSQL in Unix milliseconds."""
    return (at - _EPOCH) // _MILLISECOND


@lru_cache(_MOMENTS)
def optional_moment(ms: int | None) -> datetime | None:
    """Like `moment`; None stays None."""
    return None if ms is None else moment(ms)


def optional_milliseconds(at: datetime | None) -> int | None:
    """Like `milliseconds`; None stays None."""
    return None if at is None else milliseconds(at)


def columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """The columns of these rows, as the arrays that the statements take; `width` of them if there is no row."""
    found = [list(column) for column in zip(*rows, strict=True)]
    return found or [[] for _ in range(width)]


def arguments(rows: Iterable[tuple[Any, ...]], types: Iterable[str]) -> list[str]:
    """Like `columns`, for at least one row, as a `statements_writing.Upsert` of these types takes them."""
    return [_argument(column, type_) for column, type_ in zip(zip(*rows, strict=True), types, strict=True)]


def _argument(column: tuple[Any, ...], type_: str) -> str:
    if type_ == "json":
        return f"[{','.join(column)}]"
    array = _encode(column).decode()
    if type_ == "text":
        return array
    return f"{{{array[1:-1]}}}"  # numbers, null and quoted times are written the same way in JSON and in arrays


def session_of(row: asyncpg.Record) -> Session:
    """A row of `sql.SESSION_COLUMNS`."""
    (id_, user, key, name, version, edge, instance, connection, count, opened, lineage, ended, away, code, reason,
     by, address, connected) = row  # fmt: skip
    return Session(
        id_, user, key, name, version, edge, instance, connection, count, milliseconds(opened), lineage,
        optional_milliseconds(ended), optional_milliseconds(away), code, reason, by, address,
        optional_milliseconds(connected),
    )  # fmt: skip


def values_of_session(row: Session) -> tuple[Any, ...]:
    return (
        row.id, row.user, row.session_key, row.client_name, row.client_version, row.edge, row.instance, row.connection,
        row.connections, moment(row.opened_at), row.lineage, optional_moment(row.ended_at),
        optional_moment(row.away_until), row.end_code, row.end_reason, row.end_by, row.address,
        optional_moment(row.connected_at),
    )  # fmt: skip


def connection_of(row: asyncpg.Record) -> Connection:
    """A row of `sql.CONNECTION_COLUMNS`."""
    id_, session_id, edge, instance, opened, closed, code, reason, by, version, address = row
    return Connection(
        id_, session_id, edge, instance, milliseconds(opened), optional_milliseconds(closed), code, reason, by, version,
        address,
    )  # fmt: skip


def values_of_connection(row: Connection) -> tuple[Any, ...]:
    closed = optional_moment(row.closed_at)
    opened = moment(row.opened_at)
    return (
        row.id, row.session_id, row.edge, row.instance, opened, closed, row.close_code, row.close_reason, row.close_by,
        row.client_version, row.address,
    )  # fmt: skip


def subscription_of(row: asyncpg.Record) -> Subscription:
    """A row of `sql.SUBSCRIPTION_COLUMNS`."""
    connection, channel, opened, since, until, recovered = row
    return Subscription(
        connection, channel, milliseconds(opened), milliseconds(since), optional_milliseconds(until), recovered
    )


def values_of_subscription(row: Subscription) -> tuple[Any, ...]:
    opened, since = moment(row.opened_at), moment(row.since)
    return row.connection, row.channel, opened, since, optional_moment(row.until), row.recovered


def values_of_timeline(entry: TimelineEntry) -> tuple[Any, ...]:
    """The columns of `statements_writing.TIMELINE_COLUMNS`."""
    return entry.connection, entry.number, moment(entry.at), _encode(entry.facts).decode()


def values_of_user_device(row: UserDevice) -> tuple[Any, ...]:
    """The columns of `statements_writing.USER_DEVICE_COLUMNS`."""
    return (
        row.user, row.session_key, row.client_name, row.client_version, moment(row.first_seen), moment(row.last_seen),
        row.sessions, row.connections,
    )  # fmt: skip


def channel_of(row: asyncpg.Record) -> Channel:
    """A row of `statements_writing.CHANNEL_COLUMNS`."""
    name, subscribers, peak, peak_at, subscriptions, first_at, last_at, steps = row
    return Channel(
        name, subscribers, peak, milliseconds(peak_at), subscriptions, milliseconds(first_at), milliseconds(last_at),
        _decode_steps(steps),
    )  # fmt: skip


def values_of_channel(row: Channel) -> tuple[Any, ...]:
    """The columns of `statements_writing.CHANNEL_COLUMNS`."""
    peak_at, first_at, last_at = moment(row.peak_at), moment(row.first_at), moment(row.last_at)
    steps = _encode(row.steps).decode()
    return row.name, row.subscribers, row.peak, peak_at, row.subscriptions, first_at, last_at, steps


def channel_hour_of(row: asyncpg.Record) -> ChannelHour:
    """A row of `statements_writing.CHANNEL_HOUR_COLUMNS`."""
    channel, hour, peak, last, subscriptions = row
    return ChannelHour(channel, milliseconds(hour), peak, last, subscriptions)


def values_of_channel_hour(row: ChannelHour) -> tuple[Any, ...]:
    """The columns of `statements_writing.CHANNEL_HOUR_COLUMNS`."""
    return row.channel, moment(row.hour), row.peak, row.last, row.subscriptions


def edge_of(row: asyncpg.Record) -> Edge:
    """A row of `statements_writing.EDGE_COLUMNS`."""
    instance, edge, software, first, last, started, draining, stopped, lost, opened, ended, hung, found, times = row
    return Edge(
        instance, edge, software, milliseconds(first), milliseconds(last), optional_milliseconds(started),
        optional_milliseconds(draining), optional_milliseconds(stopped), optional_milliseconds(lost), opened, ended,
        optional_milliseconds(hung), optional_milliseconds(found), times,
    )  # fmt: skip


def values_of_edge(row: Edge) -> tuple[Any, ...]:
    """The columns of `statements_writing.EDGE_COLUMNS`."""
    return (
        row.instance, row.edge, row.software, moment(row.first_at), moment(row.last_at),
        optional_moment(row.started_at), optional_moment(row.draining_at), optional_moment(row.stopped_at),
        optional_moment(row.lost_at), row.opened, row.ended, optional_moment(row.hung_at),
        optional_moment(row.found_at), row.times_hung,
    )  # fmt: skip


def values_of_refusal(row: Refusal) -> tuple[Any, ...]:
    """The columns of `statements_writing.REFUSAL_COLUMNS`."""
    return (
        moment(row.at), row.edge, row.instance, row.action, row.code, row.reason, row.connection, row.user, row.channel,
        row.client_name, row.client_version, row.address, row.transport, row.user_agent, row.origin, row.count,
    )  # fmt: skip
