"""The tables about the log: how far it is folded and delivered, who wrote it, and which facts are archived, were erased
or could not be folded. A part of `tables`."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Identity, Integer, LargeBinary, text
from sqlmodel import Field, SQLModel

from services.sessions.table_columns import by_time, count_column, partial_index, text_column, time_column


class ProjectionRow(SQLModel, table=True):
    """How far a projection has come in the log: the epoch of the stream and the last sequence in the rows.

    `generation` grows when rows change without the position: then rows that a process keeps in memory are void.
    """

    __tablename__ = "projections"
    name: str = text_column(primary_key=True)
    epoch: str = text_column()
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    moved_at: datetime = time_column()
    generation: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


class LogWriterRow(SQLModel, table=True):
    """The last applied batch of each process that writes to the log: a repeated batch is recognized by its number."""

    __tablename__ = "log_writers"
    instance: str = text_column(primary_key=True)
    edge: str = text_column()
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    wrote_at: datetime = time_column()


class ArchivedMessageRow(SQLModel, table=True):
    """A message of the log, kept beyond the stream: its writer, and its bytes. A rewritten one replaces the message of
    the same sequence, which is no longer in the log. `stands_in`: it was archived only to be rewritten, and is removed
    when the log would have dropped that message."""

    __tablename__ = "log_archive"
    __table_args__ = (partial_index("log_archive_standing_in", "stored_at", where="stands_in"), by_time("stored_at"))
    epoch: str = text_column(primary_key=True)
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    stored_at: datetime = time_column(primary_key=True)
    writer: str = text_column()
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    stands_in: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))


class ErasureRow(SQLModel, table=True):
    """A user who was erased, by a digest (`proto.events.user_digest`): facts about them up to `at` are not folded."""

    __tablename__ = "erasures"
    user_digest: str = text_column(primary_key=True)
    at: datetime = time_column()


class ErasedConnectionRow(SQLModel, table=True):
    """A connection of a user who was erased, by SHA-256 of its id: late facts about it name no user."""

    __tablename__ = "erased_connections"
    user_digest: str = text_column(primary_key=True)
    connection: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    at: datetime = time_column()


class HeardEdgeRow(SQLModel, table=True):
    """When an edge process was last heard, by any instance of this service: it outlives each of them."""

    __tablename__ = "heard_edges"
    instance: str = text_column(primary_key=True)
    edge: str = text_column()
    heard_at: datetime = time_column()


class DeadLetterRow(SQLModel, table=True):
    """A message of the log, or a part of it, that could not be folded: the table of `entries.DeadLetter`, which
    documents the columns."""

    __tablename__ = "dead_letters"
    epoch: str = text_column(primary_key=True)
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    instance: str = text_column()
    reason: str = text_column()
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    put_aside_at: datetime = time_column()
    newer: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))


class OvertakenRow(SQLModel, table=True):
    """Messages that went from an epoch of the log before they were folded: `overtaken.OvertakenSoFar`, which
    documents the columns."""

    __tablename__ = "overtaken_messages"
    epoch: str = text_column(primary_key=True)
    messages: int = count_column()
    first: int = count_column()
    last: int = count_column()
    noticed_at: datetime = time_column()


class WebhookRow(SQLModel, table=True):
    """How far a webhook has come: the table of `webhooks.progress.Progress`, which documents the columns."""

    __tablename__ = "webhooks"
    name: str = text_column(primary_key=True)
    epoch: str = text_column()
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    part: int = Field(sa_column=Column(Integer, nullable=False))
    silent_until: int = Field(sa_column=Column(BigInteger, nullable=False))
    moved_at: datetime = time_column()


class WebhookConnectionRow(SQLModel, table=True):
    """What a webhook knows of a connection: `webhooks.tracker.KnownConnection`, in JSON."""

    __tablename__ = "webhook_connections"
    webhook: str = text_column(primary_key=True)
    connection: str = text_column(primary_key=True)
    state: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class WebhookWriterRow(SQLModel, table=True):
    """The last batch of each process that a webhook has delivered: a repeated one is recognized by its number."""

    __tablename__ = "webhook_writers"
    webhook: str = text_column(primary_key=True)
    instance: str = text_column(primary_key=True)
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    wrote_at: datetime = time_column()


class WebhookDeadLetterRow(SQLModel, table=True):
    """A request that was set aside: the table of `webhooks.progress.WebhookLetter`, which documents the columns."""

    __tablename__ = "webhook_dead_letters"
    number: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    webhook: str = text_column()
    reason: str = text_column()
    events: int = Field(sa_column=Column(Integer, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    put_aside_at: datetime = time_column()


TABLES_OF_THE_LOG: Final = (
    ProjectionRow, LogWriterRow, ArchivedMessageRow, ErasureRow, ErasedConnectionRow, HeardEdgeRow, DeadLetterRow,
    OvertakenRow, WebhookRow, WebhookConnectionRow, WebhookWriterRow, WebhookDeadLetterRow,
)  # fmt: skip
