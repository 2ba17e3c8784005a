"""How far back the newest subscriptions of a channel reach."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.queries.channel_subscriptions_postgres import before_the_newest, has_many_since
from services.sessions.queries.reaches import EVER
from services.sessions.rows import Subscription
from tests.sessions.rows_by_hand import EPOCH, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

HOUR = 3_600_000
WEEK = 7 * 24 * HOUR


async def test_the_newest_subscriptions_are_counted_back_from_a_moment(postgres: Postgres):
    since = [WEEK, WEEK + HOUR, 2 * WEEK, 2 * WEEK + HOUR, 3 * WEEK]
    await insert(
        postgres.url,
        *(Subscription(f"c{at}", "news", at, at) for at in since),
        Subscription("c1", "chat", WEEK, WEEK + 1),
    )
    moments = [EPOCH + timedelta(milliseconds=at) for at in since]
    async with Pool(postgres.url, 1) as pool, pool.database() as database:
        reached = [await before_the_newest(database, "news", number, moments[3]) for number in range(5)]
        many = [await has_many_since(database, "news", moments[1], count) for count in (2, 3)]
    assert reached == [*reversed(moments[:4]), EVER]
    assert many == [True, False]
