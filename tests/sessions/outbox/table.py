"""The outbox of a test: its tables, as an application makes them, and rows in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import asyncpg

from services.sessions.outbox.sql import OUTBOX_SQL


async def make_outbox(url: str) -> None:
    """Runs the SQL that ships, as a migration does."""
    database = await asyncpg.connect(url)
    try:
        async with database.transaction():
            await database.execute(OUTBOX_SQL)
    finally:
        await database.close()


async def insert(url: str, channel: str, *data: str) -> None:
    """One transaction with a row for each of the JSON texts."""
    await insert_each(url, [channel], *data)


async def insert_each(url: str, channels: Iterable[str], *data: str) -> None:
    """The same for each of the channels."""
    database = await asyncpg.connect(url)
    try:
        for channel in channels:
            async with database.transaction():
                for one in data:
                    await database.fetchval("SELECT fairlead_publish($1, $2)", channel, one)
    finally:
        await database.close()


async def rows_of(url: str, table: str = "fairlead_outbox") -> list[Any]:
    """All rows of a table, by id."""
    database = await asyncpg.connect(url)
    try:
        return list(await database.fetch(f"SELECT * FROM {table} ORDER BY id"))
    finally:
        await database.close()
