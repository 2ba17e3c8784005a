"""The tables, described once; a test checks the migrations against this.

Tables that grow with time are partitioned by it (`partitions_postgres`): old rows go with their partition. The tables
of read models are those of `rows`, which documents the columns.

There are no foreign keys: the log may begin in the middle of a session, and the fold keeps the rows consistent. Text is
compared and ordered by code point (COLLATE "C"), as in Python.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, DateTime, Identity, Index, Integer, LargeBinary, Text, text
from sqlmodel import Field, SQLModel


def _name(*, primary_key: bool = False, nullable: bool = False) -> Any:
    return Field(sa_column=Column(Text(collation="C"), primary_key=primary_key, nullable=nullable))


def _moment(*, primary_key: bool = False, nullable: bool = False) -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), primary_key=primary_key, nullable=nullable))


def _count() -> Any:
    return Field(sa_column=Column(BigInteger, nullable=False))


def _key() -> Any:
    return Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))


def _by_time(column: str) -> dict[str, str]:
    return {"postgresql_partition_by": f"RANGE ({column})"}


HOUR, DAY = "'01:00:00'::interval", "'1 day'::interval"


class ProjectionRow(SQLModel, table=True):
    """How far a projection has come in the log: the epoch of the stream and the last sequence in the rows.

    `generation` grows when rows change otherwise than with the position: rows that a process keeps in memory are void.
    """

    __tablename__ = "projections"
    name: str = _name(primary_key=True)
    epoch: str = _name()
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    moved_at: datetime = _moment()
    generation: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


class LogWriterRow(SQLModel, table=True):
    """The last applied batch of each process that writes to the log: a repeated batch is recognized by its number."""

    __tablename__ = "log_writers"
    instance: str = _name(primary_key=True)
    edge: str = _name()
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    wrote_at: datetime = _moment()


class SessionRow(SQLModel, table=True):
    """A client's stay: the table of `rows.Session`.

    Who was there at a moment is asked of four indexes, by how long sessions lasted: those that lasted less than an hour
    began in the hour before, and so on. No index has to be read from the beginning of time. Of a moment that has just
    been, few have ended since: they are found by when they ended.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index("sessions_by_time", "opened_at", "id"),
        Index("sessions_by_user", "user_id", "opened_at", "id"),
        Index("sessions_by_address", "address", "opened_at", "id", postgresql_where=text("address <> ''")),
        Index("sessions_by_end", "end_code", "opened_at", "id", postgresql_where=text("end_code IS NOT NULL")),
        Index("sessions_by_version", "client_name", "client_version", "opened_at", "id"),
        Index("sessions_by_edge", "edge", "opened_at", "id"),
        Index(
            "sessions_open",
            "opened_at",
            "id",
            postgresql_include=["client_name", "client_version"],
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("sessions_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index("sessions_short", "opened_at", "id", postgresql_where=text(f"ended_at - opened_at <= {HOUR}")),
        Index(
            "sessions_medium",
            "opened_at",
            "id",
            postgresql_where=text(f"ended_at - opened_at > {HOUR} AND ended_at - opened_at <= {DAY}"),
        ),
        Index("sessions_long", "opened_at", "id", postgresql_where=text(f"ended_at - opened_at > {DAY}")),
        Index("sessions_away", "away_until", "id", postgresql_where=text("away_until IS NOT NULL")),
        Index("sessions_away_by_lineage", "lineage", "away_until", postgresql_where=text("away_until IS NOT NULL")),
        Index("sessions_by_lineage", "lineage", "opened_at", postgresql_where=text("lineage IS NOT NULL")),
        _by_time("opened_at"),
    )
    id: str = _name(primary_key=True)
    user_id: str = _name()
    session_key: str = _name()
    client_name: str = _name()
    client_version: str = _name()
    edge: str = _name()
    instance: str = _name()
    connection: str = _name()
    connections: int
    opened_at: datetime = _moment(primary_key=True)
    lineage: str | None = _name(nullable=True)
    ended_at: datetime | None = _moment(nullable=True)
    away_until: datetime | None = _moment(nullable=True)
    end_code: int | None = None
    end_reason: str = _name()
    end_by: str = _name()
    address: str = _name()


class ConnectionRow(SQLModel, table=True):
    """A client connection: the table of `rows.Connection`."""

    __tablename__ = "connections"
    __table_args__ = (
        Index("connections_by_session", "session_id"),
        Index("connections_open_by_instance", "instance", postgresql_where=text("closed_at IS NULL")),
        Index(
            "connections_lost_by_instance",
            "instance",
            postgresql_where=text("close_code = 1006 AND close_reason = 'edge lost'"),
        ),
        _by_time("opened_at"),
    )
    id: str = _name(primary_key=True)
    session_id: str = _name()
    edge: str = _name()
    instance: str = _name()
    opened_at: datetime = _moment(primary_key=True)
    closed_at: datetime | None = _moment(nullable=True)
    close_code: int | None = None
    close_reason: str = _name()
    close_by: str = _name()
    client_version: str = _name()


class SubscriptionRow(SQLModel, table=True):
    """The latest subscription of a connection to a channel: the table of `rows.Subscription`."""

    __tablename__ = "subscriptions"
    __table_args__ = (Index("subscriptions_by_channel", "channel", "since"), _by_time("opened_at"))
    connection: str = _name(primary_key=True)
    channel: str = _name(primary_key=True)
    opened_at: datetime = _moment(primary_key=True)
    since: datetime = _moment()
    until: datetime | None = _moment(nullable=True)
    recovered: bool | None = None


class TimelineRow(SQLModel, table=True):
    """Facts about a connection: the table of `rows.TimelineEntry`. `facts` is an array of them."""

    __tablename__ = "timeline"
    __table_args__ = (_by_time("at"),)
    connection: str = _name(primary_key=True)
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: datetime = _moment(primary_key=True)
    facts: Any = Field(sa_column=Column(JSON, nullable=False))


class UserDeviceRow(SQLModel, table=True):
    """A device of a user: the table of `rows.UserDevice`."""

    __tablename__ = "user_devices"
    __table_args__ = (Index("user_devices_by_time", "last_seen"),)
    user_id: str = _name(primary_key=True)
    session_key: str = _name(primary_key=True)
    client_name: str = _name(primary_key=True)
    client_version: str = _name(primary_key=True)
    first_seen: datetime = _moment()
    last_seen: datetime = _moment()
    sessions: int = _count()
    connections: int = _count()


class ChannelRow(SQLModel, table=True):
    """A channel: the table of `rows.Channel`."""

    __tablename__ = "channels"
    __table_args__ = (Index("channels_by_subscribers", "subscribers", "name"), Index("channels_by_time", "last_at"))
    name: str = _name(primary_key=True)
    subscribers: int
    peak: int
    peak_at: datetime = _moment()
    subscriptions: int = _count()
    first_at: datetime = _moment()
    last_at: datetime = _moment()


class ChannelHourRow(SQLModel, table=True):
    """A channel in an hour: the table of `rows.ChannelHour`."""

    __tablename__ = "channel_hours"
    __table_args__ = (
        Index("channel_hours_by_peak", "hour", text("peak DESC"), postgresql_include=["channel"]),
        _by_time("hour"),
    )
    channel: str = _name(primary_key=True)
    hour: datetime = _moment(primary_key=True)
    peak: int
    last: int
    subscriptions: int = _count()


class ChannelDayRow(SQLModel, table=True):
    """A channel in a day (of UTC), added up from its hours as they are written, so that a month of peaks is found in
    few rows. `peak_hour` is the first hour that has the day's peak."""

    __tablename__ = "channel_days"
    __table_args__ = (
        Index("channel_days_by_peak", "day", text("peak DESC"), postgresql_include=["channel", "peak_hour"]),
        _by_time("day"),
    )
    channel: str = _name(primary_key=True)
    day: datetime = _moment(primary_key=True)
    peak: int
    peak_hour: datetime = _moment()
    subscriptions: int = _count()


class DropRow(SQLModel, table=True):
    """Ends of connections, counted: the table of `rows.DropKey`. `width` is in seconds, here and in the next three."""

    __tablename__ = "drops"
    __table_args__ = (_by_time("at"),)
    width: int = _key()
    at: datetime = _moment(primary_key=True)
    edge: str = _name(primary_key=True)
    code: int = _key()
    by: str = _name(primary_key=True)
    client_name: str = _name(primary_key=True)
    client_version: str = _name(primary_key=True)
    count: int = _count()


class DropCodeRow(SQLModel, table=True):
    """The same ends, by how they ended alone, added up as `drops` is written: a curve over minutes reads few rows."""

    __tablename__ = "drop_codes"
    __table_args__ = (_by_time("at"),)
    width: int = _key()
    at: datetime = _moment(primary_key=True)
    code: int = _key()
    by: str = _name(primary_key=True)
    count: int = _count()


class OpeningRow(SQLModel, table=True):
    """Opened connections, counted: the table of `rows.OpeningKey`."""

    __tablename__ = "openings"
    __table_args__ = (_by_time("at"),)
    width: int = _key()
    at: datetime = _moment(primary_key=True)
    edge: str = _name(primary_key=True)
    client_name: str = _name(primary_key=True)
    client_version: str = _name(primary_key=True)
    resumed: bool = Field(sa_column=Column(Boolean, primary_key=True))
    count: int = _count()


class RefusalCountRow(SQLModel, table=True):
    """Refusals, counted: the table of `rows.RefusalKey`."""

    __tablename__ = "refusal_counts"
    __table_args__ = (_by_time("at"),)
    width: int = _key()
    at: datetime = _moment(primary_key=True)
    edge: str = _name(primary_key=True)
    action: str = _name(primary_key=True)
    code: int = _key()
    count: int = _count()


class RefusalRow(SQLModel, table=True):
    """A refused client: the table of `rows.Refusal`. The number only tells rows apart."""

    __tablename__ = "refusals"
    __table_args__ = (
        Index("refusals_by_time", "at"),
        Index("refusals_by_user", "user_id", "at", postgresql_where=text("user_id <> ''")),
        _by_time("at"),
    )
    number: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    at: datetime = _moment(primary_key=True)
    edge: str = _name()
    instance: str = _name()
    action: str = _name()
    code: int
    reason: str = _name()
    connection: str = _name()
    user_id: str = _name()
    channel: str = _name()
    client_name: str = _name()
    client_version: str = _name()
    address: str = _name()
    count: int = _count()


class EdgeRow(SQLModel, table=True):
    """One run of an edge process: the table of `rows.Edge`."""

    __tablename__ = "edges"
    __table_args__ = (Index("edges_by_time", "last_at"),)
    instance: str = _name(primary_key=True)
    edge: str = _name()
    software: str = _name()
    first_at: datetime = _moment()
    last_at: datetime = _moment()
    started_at: datetime | None = _moment(nullable=True)
    draining_at: datetime | None = _moment(nullable=True)
    stopped_at: datetime | None = _moment(nullable=True)
    lost_at: datetime | None = _moment(nullable=True)
    opened: int = _count()
    ended: int = _count()


class ArchivedMessageRow(SQLModel, table=True):
    """A message of the log, kept beyond the stream: its writer, and its bytes. A rewritten one stands for the message
    of the same sequence, which is no longer in the log."""

    __tablename__ = "log_archive"
    __table_args__ = (_by_time("stored_at"),)
    epoch: str = _name(primary_key=True)
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    stored_at: datetime = _moment(primary_key=True)
    writer: str = _name()
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class ErasureRow(SQLModel, table=True):
    """A user who was erased, by a digest (`proto.events.user_digest`): facts about them up to `at` are not folded."""

    __tablename__ = "erasures"
    user_digest: str = _name(primary_key=True)
    at: datetime = _moment()


class HeardEdgeRow(SQLModel, table=True):
    """When an edge process was last heard, by any instance of this service: it outlives each of them."""

    __tablename__ = "heard_edges"
    instance: str = _name(primary_key=True)
    edge: str = _name()
    heard_at: datetime = _moment()


class DeadLetterRow(SQLModel, table=True):
    """What of the log could not be folded: the table of `entries.DeadLetter`, which documents the columns."""

    __tablename__ = "dead_letters"
    epoch: str = _name(primary_key=True)
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    instance: str = _name()
    reason: str = _name()
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    put_aside_at: datetime = _moment()


class WebhookRow(SQLModel, table=True):
    """How far a webhook has come: the table of `webhooks.progress.Progress`, which documents the columns."""

    __tablename__ = "webhooks"
    name: str = _name(primary_key=True)
    epoch: str = _name()
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    part: int = Field(sa_column=Column(Integer, nullable=False))
    silent_until: int = Field(sa_column=Column(BigInteger, nullable=False))
    moved_at: datetime = _moment()


class WebhookConnectionRow(SQLModel, table=True):
    """What a webhook knows of a connection: `webhooks.tracker.KnownConnection`, in JSON."""

    __tablename__ = "webhook_connections"
    webhook: str = _name(primary_key=True)
    connection: str = _name(primary_key=True)
    state: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class WebhookWriterRow(SQLModel, table=True):
    """The last batch of each process that a webhook has delivered: a repeated one is recognized by its number."""

    __tablename__ = "webhook_writers"
    webhook: str = _name(primary_key=True)
    instance: str = _name(primary_key=True)
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    wrote_at: datetime = _moment()


class WebhookDeadLetterRow(SQLModel, table=True):
    """A request that was given up: the table of `webhooks.progress.WebhookLetter`, which documents the columns."""

    __tablename__ = "webhook_dead_letters"
    number: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    webhook: str = _name()
    reason: str = _name()
    events: int = Field(sa_column=Column(Integer, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    put_aside_at: datetime = _moment()
