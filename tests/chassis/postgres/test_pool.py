"""Connections to PostgreSQL end without a trace, whatever they were doing."""

from __future__ import annotations

import asyncio

import pytest

from services.chassis.postgres.pool import Pool
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


async def test_who_is_cancelled_while_giving_back_a_connection_leaves_nothing_behind(postgres: Postgres):
    """At every moment of a statement: asyncpg continues to return the connection, in a task that nobody awaits."""

    async def ask(pool: Pool) -> None:
        async with pool.database() as database:
            await database.fetchval("SELECT 1")

    for turns in range(0, 300, 3):
        async with Pool(postgres.url, 1) as pool:
            await ask(pool)
            asking = asyncio.create_task(ask(pool))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def test_no_statement_is_compiled_whatever_the_server_does_by_itself(postgres: Postgres):
    async with Pool(postgres.url, 1) as pool:
        for _ in range(2):  # the second time by the same connection, which was given back
            async with pool.database() as database:
                assert await database.fetchval("SHOW jit") == "off"
