"""The tables of counts by minute, hour and day: a part of `tables`."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Boolean, Column
from sqlmodel import Field, SQLModel

from services.sessions.table_columns import by_time, count_column, number_column, text_column, time_column


class DropRow(SQLModel, table=True):
    """Ends of connections, counted: the table of `rows.DropKey`. `width` is in seconds, here as in all of them."""

    __tablename__ = "drops"
    __table_args__ = (by_time("at"),)
    width: int = number_column()
    at: datetime = time_column(primary_key=True)
    edge: str = text_column(primary_key=True)
    code: int = number_column()
    by: str = text_column(primary_key=True)
    client_name: str = text_column(primary_key=True)
    client_version: str = text_column(primary_key=True)
    count: int = count_column()


class DropCodeRow(SQLModel, table=True):
    """The same ends, counted only by code and by who ended them, added up when `drops` is written: a curve over minutes
    reads few rows."""

    __tablename__ = "drop_codes"
    __table_args__ = (by_time("at"),)
    width: int = number_column()
    at: datetime = time_column(primary_key=True)
    code: int = number_column()
    by: str = text_column(primary_key=True)
    count: int = count_column()


class DropVersionRow(SQLModel, table=True):
    """The same ends, counted without their edges."""

    __tablename__ = "drop_versions"
    __table_args__ = (by_time("at"),)
    width: int = number_column()
    at: datetime = time_column(primary_key=True)
    code: int = number_column()
    by: str = text_column(primary_key=True)
    client_name: str = text_column(primary_key=True)
    client_version: str = text_column(primary_key=True)
    count: int = count_column()


class OpeningRow(SQLModel, table=True):
    """Opened connections, counted: the table of `rows.OpeningKey`."""

    __tablename__ = "openings"
    __table_args__ = (by_time("at"),)
    width: int = number_column()
    at: datetime = time_column(primary_key=True)
    edge: str = text_column(primary_key=True)
    client_name: str = text_column(primary_key=True)
    client_version: str = text_column(primary_key=True)
    resumed: bool = Field(sa_column=Column(Boolean, primary_key=True))
    count: int = count_column()


class OpeningVersionRow(SQLModel, table=True):
    """The same openings by version alone, added up as `openings` is written."""

    __tablename__ = "opening_versions"
    __table_args__ = (by_time("at"),)
    width: int = number_column()
    at: datetime = time_column(primary_key=True)
    client_name: str = text_column(primary_key=True)
    client_version: str = text_column(primary_key=True)
    count: int = count_column()


class RefusalCountRow(SQLModel, table=True):
    """Refusals, counted: the table of `rows.RefusalKey`."""

    __tablename__ = "refusal_counts"
    __table_args__ = (by_time("at"),)
    width: int = number_column()
    at: datetime = time_column(primary_key=True)
    edge: str = text_column(primary_key=True)
    action: str = text_column(primary_key=True)
    code: int = number_column()
    count: int = count_column()


TABLES_OF_COUNTS: Final = (
    DropRow, DropCodeRow, DropVersionRow, OpeningRow, OpeningVersionRow, RefusalCountRow,
)  # fmt: skip
