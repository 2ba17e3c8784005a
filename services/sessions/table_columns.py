"""The kinds of columns and indexes that `tables` has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, Text, TextClause, text
from sqlmodel import Field


def text_column(*, primary_key: bool = False, nullable: bool = False) -> Any:
    return Field(sa_column=Column(Text(collation="C"), primary_key=primary_key, nullable=nullable))


def later_text_column() -> Any:
    """A column that was added to a table with rows: these have "", and so do rows that a process of the previous
    version writes."""
    return Field(sa_column=Column(Text(collation="C"), nullable=False, server_default=text("''")))


def time_column(*, primary_key: bool = False, nullable: bool = False) -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), primary_key=primary_key, nullable=nullable))


def count_column() -> Any:
    return Field(sa_column=Column(BigInteger, nullable=False))


def later_count_column() -> Any:
    """One that was added to a table with rows: those have 0, as do rows of a process of the version before."""
    return Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


def number_column() -> Any:
    """A number that is part of the primary key."""
    return Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))


def by_time(column: str) -> dict[str, str]:
    """Table options for a partition by ranges of this column."""
    return {"postgresql_partition_by": f"RANGE ({column})"}


def partial_index(name: str, *columns: str | TextClause, where: str, include: Sequence[str] = ()) -> Index:
    """An index of the rows for which `where` holds."""
    return Index(name, *columns, postgresql_where=text(where), postgresql_include=[*include] or None)
