"""The tables, described once; a test checks the migrations against this.

There are no foreign keys: the log may begin in the middle of a session, and the fold keeps the rows consistent. Text is
compared and ordered by code point (COLLATE "C"), as in Python.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, LargeBinary, Text, text
from sqlmodel import Field, SQLModel


def _name(*, primary_key: bool = False, nullable: bool = False) -> Any:
    return Field(sa_column=Column(Text(collation="C"), primary_key=primary_key, nullable=nullable))


def _moment(*, nullable: bool = False) -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), nullable=nullable))


class ProjectionRow(SQLModel, table=True):
    """How far a projection has come in the log: the epoch of the stream and the last sequence in the rows."""

    __tablename__ = "projections"
    name: str = _name(primary_key=True)
    epoch: str = _name()
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    moved_at: datetime = _moment()


class LogWriterRow(SQLModel, table=True):
    """The last applied batch of each process that writes to the log: a repeated batch is recognized by its number."""

    __tablename__ = "log_writers"
    instance: str = _name(primary_key=True)
    edge: str = _name()
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    wrote_at: datetime = _moment()


class SessionRow(SQLModel, table=True):
    """A client's stay: the table of `rows.Session`, which documents the columns."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("sessions_by_time", "opened_at", "id"),
        Index("sessions_by_user", "user_id", "opened_at", "id"),
        Index("sessions_open_by_edge", "edge", "opened_at", "id", postgresql_where=text("ended_at IS NULL")),
        Index("sessions_away", "lineage", "away_until", postgresql_where=text("away_until IS NOT NULL")),
        Index("sessions_by_lineage", "lineage", "opened_at", postgresql_where=text("lineage IS NOT NULL")),
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
    opened_at: datetime = _moment()
    lineage: str | None = _name(nullable=True)
    ended_at: datetime | None = _moment(nullable=True)
    away_until: datetime | None = _moment(nullable=True)
    end_code: int | None = None
    end_reason: str = _name()


class ConnectionRow(SQLModel, table=True):
    """A client connection: the table of `rows.Connection`, which documents the columns."""

    __tablename__ = "connections"
    __table_args__ = (
        Index("connections_by_session", "session_id"),
        Index("connections_open_by_instance", "instance", postgresql_where=text("closed_at IS NULL")),
        Index(
            "connections_lost_by_instance",
            "instance",
            postgresql_where=text("close_code = 1006 AND close_reason = 'edge lost'"),
        ),
    )
    id: str = _name(primary_key=True)
    session_id: str = _name()
    edge: str = _name()
    instance: str = _name()
    opened_at: datetime = _moment()
    closed_at: datetime | None = _moment(nullable=True)
    close_code: int | None = None
    close_reason: str = _name()


class SubscriptionRow(SQLModel, table=True):
    """The latest subscription of a connection to a channel: the table of `rows.Subscription`."""

    __tablename__ = "subscriptions"
    connection: str = _name(primary_key=True)
    channel: str = _name(primary_key=True)
    since: datetime = _moment()
    until: datetime | None = _moment(nullable=True)
    recovered: bool | None = None


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
