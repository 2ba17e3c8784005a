"""The tables, described once; a test checks the migrations against this. The tables of read models are here, except
counts (`tables_of_counts`); tables about the log itself are in `tables_of_the_log`.

Tables that grow with time are partitioned by it (`partitions_postgres`): old rows are dropped with their partition.
`rows` documents the columns.

There are no foreign keys: the log may begin in the middle of a session, and the fold keeps the rows consistent. Text is
compared and ordered by code point (COLLATE "C"), as in Python.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Column, Identity, Index, PrimaryKeyConstraint, Text, text
from sqlmodel import Field, SQLModel

from services.sessions import lengths
from services.sessions.statements import DIGEST, END
from services.sessions.table_columns import (
    by_time,
    count_column,
    later_count_column,
    later_text_column,
    partial_index,
    text_column,
    time_column,
)
from services.sessions.tables_of_counts import TABLES_OF_COUNTS
from services.sessions.tables_of_the_log import TABLES_OF_THE_LOG

OTHERS: Final = TABLES_OF_COUNTS + TABLES_OF_THE_LOG
ENDED_IN_ORDER: Final = ("opened_at", "id", "ended_at")
COUNTED_BY: Final = ("edge", "client_name", "client_version", "connections", "connected_at", "connection")


class SessionRow(SQLModel, table=True):
    """A client's stay: the table of `rows.Session`.

    The sessions of a moment are found by indexes for classes of their length (`lengths`). These have the end as a
    column of the key: a row is read only if its session had not ended. For sessions that lasted longer than an hour,
    which are almost all sessions of a moment, the index has edge and version, too: to count them, no row is read.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index("sessions_by_time", "opened_at", "id"),
        Index("sessions_by_user", "user_id", "opened_at", "id", postgresql_include=["ended_at"]),
        partial_index("sessions_by_address", "address", "opened_at", "id", where="address <> ''"),
        partial_index("sessions_by_end", "end_code", "opened_at", "id", where="end_code IS NOT NULL"),
        Index("sessions_by_version", "client_name", "client_version", "opened_at", "id"),
        Index("sessions_by_edge", "edge", "opened_at", "id"),
        partial_index(
            "sessions_open", "opened_at", "id", where="ended_at IS NULL", include=["client_name", "client_version"]
        ),
        partial_index("sessions_short", *ENDED_IN_ORDER, where=lengths.SHORT.condition),
        partial_index("sessions_medium", *ENDED_IN_ORDER, where=lengths.MEDIUM.condition, include=COUNTED_BY),
        partial_index("sessions_long", *ENDED_IN_ORDER, where=lengths.LONG.condition, include=COUNTED_BY),
        partial_index("sessions_very_long", *ENDED_IN_ORDER, where=lengths.VERY_LONG.condition),
        partial_index("sessions_away", "away_until", where="away_until IS NOT NULL"),
        partial_index("sessions_away_by_lineage", "lineage", "away_until", where="away_until IS NOT NULL"),
        partial_index("sessions_by_lineage", "lineage", "opened_at", where="lineage IS NOT NULL"),
        by_time("opened_at"),
    )
    id: str = text_column(primary_key=True)
    user_id: str = text_column()
    session_key: str = text_column()
    client_name: str = text_column()
    client_version: str = text_column()
    edge: str = text_column()
    instance: str = text_column()
    connection: str = text_column()
    connections: int
    opened_at: datetime = time_column(primary_key=True)
    lineage: str | None = text_column(nullable=True)
    ended_at: datetime | None = time_column(nullable=True)
    away_until: datetime | None = time_column(nullable=True)
    end_code: int | None = None
    end_reason: str = text_column()
    end_by: str = text_column()
    address: str = text_column()
    connected_at: datetime | None = time_column(nullable=True)


class ConnectionRow(SQLModel, table=True):
    """A client connection: the table of `rows.Connection`."""

    __tablename__ = "connections"
    __table_args__ = (
        Index("connections_by_session", "session_id"),
        partial_index(
            "connections_lasting",
            "opened_at",
            "id",
            where=f"closed_at IS NULL OR closed_at - opened_at > {lengths.HOUR}",
            include=["closed_at"],
        ),
        partial_index("connections_open_by_instance", "instance", where="closed_at IS NULL"),
        partial_index(
            "connections_lost_by_instance", "instance", where="close_code = 1006 AND close_reason = 'edge lost'"
        ),
        by_time("opened_at"),
    )
    id: str = text_column(primary_key=True)
    session_id: str = text_column()
    edge: str = text_column()
    instance: str = text_column()
    opened_at: datetime = time_column(primary_key=True)
    closed_at: datetime | None = time_column(nullable=True)
    close_code: int | None = None
    close_reason: str = text_column()
    close_by: str = text_column()
    client_version: str = text_column()
    address: str = text_column()


class SubscriptionRow(SQLModel, table=True):
    """A stay of a connection in a channel: the table of `rows.Subscription`.

    The primary key has the stays in a channel in the order of time, and until when each lasted. In the index by
    connection, stays that have not ended come last: they are found without reading the earlier ones, however often a
    client went from channel to channel. A row that ends gets new entries in both indexes: its page, which was copied
    full, has no room for the new version anyway.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        PrimaryKeyConstraint("channel", "since", "connection", "opened_at", postgresql_include=["until"]),
        Index("subscriptions_by_connection", "connection", text(END)),
        by_time("opened_at"),
    )
    connection: str = text_column()
    channel: str = text_column()
    opened_at: datetime = time_column()
    since: datetime = time_column()
    until: datetime | None = time_column(nullable=True)
    recovered: bool | None = None


class TimelineRow(SQLModel, table=True):
    """Facts about a connection: the table of `rows.TimelineEntry`. `facts` is an array of them."""

    __tablename__ = "timeline"
    __table_args__ = (by_time("at"),)
    connection: str = text_column(primary_key=True)
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: datetime = time_column(primary_key=True)
    facts: Any = Field(sa_column=Column(JSON, nullable=False))


class UserDeviceRow(SQLModel, table=True):
    """A device of a user: the table of `rows.UserDevice`."""

    __tablename__ = "user_devices"
    __table_args__ = (Index("user_devices_by_time", "last_seen"),)
    user_id: str = text_column(primary_key=True)
    session_key: str = text_column(primary_key=True)
    client_name: str = text_column(primary_key=True)
    client_version: str = text_column(primary_key=True)
    first_seen: datetime = time_column()
    last_seen: datetime = time_column()
    sessions: int = count_column()
    connections: int = count_column()


class ChannelRow(SQLModel, table=True):
    """A channel: the table of `rows.Channel`. `steps` are an array of pairs in JSON."""

    __tablename__ = "channels"
    __table_args__ = (
        partial_index("channels_by_end", text("reverse(name)"), where="strpos(name, '#') > 0"),
        Index("channels_by_subscribers", "subscribers", "name"),
        Index("channels_by_peak", "peak", "name"),
        Index("channels_by_time", "last_at"),
    )
    name: str = text_column(primary_key=True)
    subscribers: int
    peak: int
    peak_at: datetime = time_column()
    subscriptions: int = count_column()
    first_at: datetime = time_column()
    last_at: datetime = time_column()
    steps: str = Field(sa_column=Column(Text(collation="C"), nullable=False, server_default=text("'[]'")))


class ChannelHourRow(SQLModel, table=True):
    """A channel in an hour: the table of `rows.ChannelHour`."""

    __tablename__ = "channel_hours"
    __table_args__ = (
        Index("channel_hours_by_peak", "hour", text("peak DESC"), postgresql_include=["channel"]),
        by_time("hour"),
    )
    channel: str = text_column(primary_key=True)
    hour: datetime = time_column(primary_key=True)
    peak: int
    last: int
    subscriptions: int = count_column()


class ChannelDayRow(SQLModel, table=True):
    """A channel in a day (of UTC), added up from its hours as they are written, so that a month of peaks is found in
    few rows. `peak_hour` is the first hour that has the day's peak."""

    __tablename__ = "channel_days"
    __table_args__ = (
        Index("channel_days_by_peak", "day", text("peak DESC"), postgresql_include=["channel", "peak_hour"]),
        by_time("day"),
    )
    channel: str = text_column(primary_key=True)
    day: datetime = time_column(primary_key=True)
    peak: int
    peak_hour: datetime = time_column()
    subscriptions: int = count_column()


class RefusalRow(SQLModel, table=True):
    """A refused client: the table of `rows.Refusal`. The number only tells rows apart."""

    __tablename__ = "refusals"
    __table_args__ = (
        Index("refusals_by_time", "at", postgresql_include=["user_id", "action", "code", "count"]),
        partial_index("refusals_by_user", "user_id", "at", where="user_id <> ''"),
        partial_index("refusals_by_digest", text(DIGEST), where="user_id <> ''"),
        partial_index("refusals_by_connection", "connection", where="user_id = '' AND connection <> ''"),
        partial_index("refusals_by_channel_end", text("reverse(channel)"), where="strpos(channel, '#') > 0"),
        by_time("at"),
    )
    number: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    at: datetime = time_column(primary_key=True)
    edge: str = text_column()
    instance: str = text_column()
    action: str = text_column()
    code: int
    reason: str = text_column()
    connection: str = text_column()
    user_id: str = text_column()
    channel: str = text_column()
    client_name: str = text_column()
    client_version: str = text_column()
    address: str = text_column()
    count: int = count_column()
    transport: str = later_text_column()
    user_agent: str = later_text_column()
    origin: str = later_text_column()


class EdgeRow(SQLModel, table=True):
    """One run of an edge process: the table of `rows.Edge`."""

    __tablename__ = "edges"
    __table_args__ = (Index("edges_by_time", "last_at"),)
    instance: str = text_column(primary_key=True)
    edge: str = text_column()
    software: str = text_column()
    first_at: datetime = time_column()
    last_at: datetime = time_column()
    started_at: datetime | None = time_column(nullable=True)
    draining_at: datetime | None = time_column(nullable=True)
    stopped_at: datetime | None = time_column(nullable=True)
    lost_at: datetime | None = time_column(nullable=True)
    opened: int = count_column()
    ended: int = count_column()
    hung_at: datetime | None = time_column(nullable=True)
    found_at: datetime | None = time_column(nullable=True)
    times_hung: int = later_count_column()
