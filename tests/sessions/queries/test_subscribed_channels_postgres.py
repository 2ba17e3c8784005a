"""Each page of channels goes on where the one before ended."""

from __future__ import annotations

import pytest

from services.sessions.queries.places import ChannelPlace
from services.sessions.queries.subscribed_channels_postgres import SubscribedChannels
from services.sessions.rows import Channel
from tests.sessions.plans import ExplainingPool
from tests.sessions.rows_by_hand import insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


async def test_all_pages_together_have_every_channel_once_those_with_most_subscribers_first(postgres: Postgres):
    channels = [Channel(f"c{n}", n // 3, n, n, n, n, n) for n in range(10)]
    await insert(postgres.url, *channels)
    found, after = list[str](), None
    async with ExplainingPool(postgres.url) as pool:
        while page := await SubscribedChannels(pool).page(4, after):
            assert len(page) == 4 or len(found) == 8
            found += [one.channel for one in page]
            after = ChannelPlace(page[-1].subscribers, page[-1].channel)
        assert all(one.rows <= 4 for one in pool.plans[1:2]), "a page does not read those before it"
    assert found == [f"c{n}" for n in range(9, -1, -1)]
