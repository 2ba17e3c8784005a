"""Nobody is erased while a read model is rebuilt, and none is rebuilt while somebody is erased."""

from __future__ import annotations

from urllib.parse import urlsplit

import asyncpg
import pytest

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.claims_postgres import OthersWork, Work, claimed
from services.sessions.privacy.erasure import Erasure
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import Incomplete, unwatched
from services.sessions.rebuilding.workshop import NotRebuilt
from tests.sessions.database import execute
from tests.sessions.rebuilding.shop import all_rows, rebuilt, served, settings_of, verified
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.servers import NatsServer, Postgres

pytestmark = [pytest.mark.integration]

END = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 2 AND objsubid = 2"


async def test_work_of_one_kind_is_done_at_once_and_keeps_the_other_away(postgres: Postgres) -> None:
    async with Pool(postgres.url, 4) as pool:
        async with claimed(pool, Work.REBUILDING), claimed(pool, Work.REBUILDING):
            with pytest.raises(OthersWork):
                async with claimed(pool, Work.ERASING):
                    pass
        async with claimed(pool, Work.ERASING), claimed(pool, Work.ERASING):
            with pytest.raises(OthersWork):
                async with claimed(pool, Work.REBUILDING):
                    pass
        with pytest.raises(StoreAway):
            async with claimed(pool, Work.ERASING) as held:
                await held.check()
                await execute(postgres.url, END)
                await held.check()


async def test_a_claim_outlasts_the_time_after_which_postgresql_closes_idle_connections(postgres: Postgres) -> None:
    url = postgres.empty_database()
    name = urlsplit(url).path.removeprefix("/")
    await execute(url, f'ALTER DATABASE "{name}" SET idle_session_timeout = 100')
    async with Pool(url, 1) as pool, claimed(pool, Work.REBUILDING) as held:
        idle = await asyncpg.connect(url)
        await eventually(idle.is_closed)
        await held.check()


async def test_a_rebuild_and_an_erasure_refuse_to_work_at_once(nats_server: NatsServer, postgres: Postgres) -> None:
    async with served(nats_server, postgres, days=1), Pool(postgres.url, 3) as pool, linked(nats_server.url) as link:
        before, settings = await all_rows(postgres.url), settings_of(nats_server, postgres)
        erasure = Erasure(link, pool, Person("bob"), [], unwatched)
        async with claimed(pool, Work.REBUILDING):
            assert (await erasure.search()).total
            with pytest.raises(Incomplete, match="a read model is being rebuilt"):
                await erasure.erase()
        assert await all_rows(postgres.url) == before
        async with claimed(pool, Work.ERASING):
            with pytest.raises(NotRebuilt, match="a user is being erased"):
                await rebuilt(settings, "all")
            assert await verified(settings), "that changes nothing, so it may"
            await erasure.erase()
        await rebuilt(settings, "all")
        assert not any("bob" in row for rows in (await all_rows(postgres.url)).values() for row in rows)
