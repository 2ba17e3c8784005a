"""Reads the whole read model back, as the fold's own rows."""

from __future__ import annotations

import asyncpg

from services.sessions import statements as sql
from services.sessions.rows import State
from services.sessions.store_postgres import connection_of, session_of, subscription_of


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
