"""The lock of a webhook: one process has it, and loses it when it hangs, or its machine is gone."""

from __future__ import annotations

import pytest

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.webhooks import progress_postgres as module
from services.sessions.webhooks.progress_postgres import held
from tests.support.eventually import eventually
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


async def test_a_holder_that_hangs_loses_the_lock_and_can_write_no_more(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "IDLE_S", 1)
    async with Pool(postgres.url, 2) as pool:

        async def is_free() -> bool:
            async with held(pool, "app") as other:
                return other is not None

        with pytest.raises(StoreAway):
            async with held(pool, "app") as hung:
                assert hung is not None and not await is_free()
                await eventually(is_free, within_s=20)
                await hung.check()


async def test_a_machine_that_is_gone_is_noticed_within_seconds(postgres: Postgres):
    async with Pool(postgres.url, 1) as pool:
        async with held(pool, "app") as progress:
            assert progress is not None
            database = progress._database
            assert await database.fetchval("SHOW tcp_keepalives_idle") == "5"
            assert await database.fetchval("SHOW tcp_keepalives_count") == "3"
        async with pool.database() as database:
            assert await database.fetchval("SHOW idle_session_timeout") == "0", "for other work it is as it was"
