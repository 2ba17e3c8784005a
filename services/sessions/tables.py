"""The tables: the one description of them, which the migrations are checked against.

Nothing refers to anything by a foreign key: the log may begin in the middle of a story, and the fold is what keeps the
rows consistent. Text that is compared or ordered is ordered by code point (COLLATE "C"), as Python orders it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Index, Text, text
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
    """The last batch of each process that wrote to the log: a batch that comes again is known by its number."""

    __tablename__ = "log_writers"
    instance: str = _name(primary_key=True)
    edge: str = _name()
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    wrote_at: datetime = _moment()


class SessionRow(SQLModel, table=True):
    """See `rows.Session`."""

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
    """See `rows.Connection`."""

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
    """See `rows.Subscription`."""

    __tablename__ = "subscriptions"
    connection: str = _name(primary_key=True)
    channel: str = _name(primary_key=True)
    since: datetime = _moment()
    until: datetime | None = _moment(nullable=True)
    recovered: bool | None = None
