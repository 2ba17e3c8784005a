"""Of several servers the one that accepts writes is used, even if others are gone, silent or read-only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from deploy.processes.ports import free_port
from services.chassis.postgres import pool as pool_module
from services.chassis.postgres.connector import Connector
from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.schema_postgres import SCHEMA
from tests.sessions.database import execute
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A machine that takes connections and answers nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        listener.setblocking(False)
        yield listener


def with_servers(postgres: Postgres, *ports: int) -> str:
    """The address of the database, with other servers before its own."""
    own = postgres.url.rpartition("@")[2].partition("/")[0]
    return postgres.url.replace(own, ",".join([*(f"127.0.0.1:{port}" for port in ports), own]), 1)


async def test_servers_that_are_gone_are_passed_over_by_statements_and_by_migrations(empty_postgres: Postgres) -> None:
    url = with_servers(empty_postgres, free_port(), free_port())
    await SCHEMA.migrate(url)
    async with Pool(url, 2) as pool, pool.database() as first, pool.database() as second:
        assert [await one.fetchval("SELECT count(*) FROM alembic_version") for one in (first, second)] == [1, 1]


async def test_a_server_that_takes_no_writes_is_none(postgres: Postgres) -> None:
    connection = await Connector(postgres.url).connect(timeout=10)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await connection.close()
    own = postgres.url.rpartition("@")[2].partition("/")[0]
    for url in (with_servers(postgres, free_port()), postgres.url.replace(own, f"{own},127.0.0.1:{free_port()}", 1)):
        async with Pool(url, 1) as pool:
            with pytest.raises(StoreAway, match=r"no server of postgres\.url takes writes now: promote one"):
                async with pool.database():
                    pass


async def test_the_server_that_was_found_is_the_first_from_then_on(postgres: Postgres, silent: socket.socket) -> None:
    connector = Connector(with_servers(postgres, silent.getsockname()[1]))
    for _ in range(3):
        await (await connector.connect(timeout=2)).close()
    silent.accept()[0].close()
    with pytest.raises(BlockingIOError):
        silent.accept()


@pytest.mark.parametrize("at_once", [2, 3, 4])
async def test_those_who_look_at_once_do_not_hide_a_server_from_each_other(postgres: Postgres, at_once: int) -> None:
    connector = Connector(with_servers(postgres, free_port()))
    for made in await asyncio.gather(*(connector.connect(timeout=10) for _ in range(at_once))):
        await made.close()


async def test_who_only_reads_is_served_by_a_server_that_takes_no_writes_until_one_does(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_MAKESHIFT_S", 0.0)
    name = postgres.url.rpartition("/")[2]
    await execute(postgres.url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with Pool(with_servers(postgres, free_port()), 2, for_reading=True) as pool:

        async def takes_writes() -> bool:
            async with pool.database() as database:
                return str(await database.fetchval("SHOW transaction_read_only")) == "off"

        assert [await takes_writes() for _ in range(3)] == [False] * 3
        mended = ("SET default_transaction_read_only = off", f'ALTER DATABASE "{name}" RESET ALL')
        await execute(postgres.url, *mended)
        assert [await takes_writes() for _ in range(3)] == [True] * 3
