"""The tables of the history, described once; a test checks the migrations against this.

Both are partitioned by time (`history_postgres` makes and drops the partitions: of minutes by day, of hours by month),
so that old rows need no deletes. Column names are those of `minutes.Minute`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final

from sqlalchemy import Column, DateTime, Double, MetaData, Text
from sqlmodel import Field, SQLModel

METADATA: Final = MetaData()  # separate from SQLModel's own, which has the tables of the sessions service


def _moment() -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), primary_key=True, nullable=False))


def _edge() -> Any:
    return Field(sa_column=Column(Text(collation="C"), primary_key=True, nullable=False))


def _figure() -> Any:
    return Field(sa_type=Double)


class _Figures(SQLModel):
    """The columns of both tables."""

    metadata: ClassVar[MetaData] = METADATA
    edges: float = _figure()
    connections: float = _figure()
    users: float = _figure()
    channels: float = _figure()
    subscriptions: float = _figure()
    accepted: float = _figure()
    messages_in: float = _figure()
    messages_out: float = _figure()
    publishes: float = _figure()
    bytes_out: float = _figure()
    cpu: float = _figure()
    memory_bytes: float = _figure()
    memory_limit: float = _figure()
    open_fds: float = _figure()
    max_fds: float = _figure()
    loop_lag_s: float = _figure()
    loop_lag_max_s: float = _figure()


class MinuteRow(_Figures, table=True):
    """One minute of an edge, or of all edges (with an empty name), see `minutes.Minute`."""

    __tablename__ = "metrics_minutes"
    __table_args__: ClassVar[Any] = {"postgresql_partition_by": "RANGE (minute)"}
    minute: datetime = _moment()
    edge: str = _edge()
    seconds: int
    draining: bool


class HourRow(_Figures, table=True):
    """The means of an hour's minutes, how many minutes there were, and the 95th percentile of the figures that make
    load."""

    __tablename__ = "metrics_hours"
    __table_args__: ClassVar[Any] = {"postgresql_partition_by": "RANGE (hour)"}
    hour: datetime = _moment()
    edge: str = _edge()
    minutes: int
    high_connections: float = _figure()
    high_accepted: float = _figure()
    high_messages_in: float = _figure()
    high_messages_out: float = _figure()
    high_publishes: float = _figure()
    high_bytes_out: float = _figure()
    high_cpu: float = _figure()
