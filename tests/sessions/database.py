"""Reads the whole read model back, as the fold's own rows."""

from __future__ import annotations

import os

import asyncpg

from services.chassis.postgres.pool import Pool
from services.sessions import statements as sql
from services.sessions.dead_letters_postgres import DeadLetters
from services.sessions.entries import DeadLetter
from services.sessions.rows_postgres import connection_of, session_of, subscription_of
from services.sessions.state import State


async def read_rows(url: str) -> State:
    state = State(0)
    database = await asyncpg.connect(url)
    try:
        for row in await database.fetch(f"SELECT {sql.SESSION_COLUMNS} FROM sessions"):
            state.put_session(session_of(row))
        for row in await database.fetch(f"SELECT {sql.CONNECTION_COLUMNS} FROM connections"):
            state.put_connection(connection_of(row))
        for row in await database.fetch(f"SELECT {sql.SUBSCRIPTION_COLUMNS} FROM subscriptions"):
            state.put_subscription(subscription_of(row))
    finally:
        await database.close()
    return state


async def read_letters(url: str) -> list[DeadLetter]:
    """All dead letters with their data, oldest first."""
    async with Pool(url, 1) as pool:
        kept = DeadLetters(pool)
        return [whole for each in await kept.all() if (whole := await kept.whole(each)) is not None]


async def read_archive(url: str) -> dict[tuple[str, int], bytes]:
    """The archived messages, by epoch and sequence."""
    database = await asyncpg.connect(url)
    try:
        rows = await database.fetch("SELECT epoch, sequence, data FROM log_archive")
        return {(row["epoch"], row["sequence"]): row["data"] for row in rows}
    finally:
        await database.close()


async def execute(url: str, *statements: str) -> None:
    """What an operator does by hand."""
    database = await asyncpg.connect(url)
    try:
        for statement in statements:
            await database.execute(statement)
    finally:
        await database.close()


async def as_ordinary_user(url: str) -> str:
    """The URL of the database for a user who owns it, and may be refused things, as the superuser may not."""
    name, password = f"app_{os.urandom(4).hex()}", "a-password-of-the-tests"
    server, _, database = url.rpartition("/")
    await execute(
        url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'", f'ALTER DATABASE "{database}" OWNER TO {name}'
    )
    return f"postgresql://{name}:{password}@{server.rpartition('@')[2]}/{database}"
