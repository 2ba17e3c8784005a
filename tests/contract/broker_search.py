"""How the log of a channel is searched for a message id: a part of `broker.BrokerContract`."""

from __future__ import annotations

import asyncio

from services.edge.broker.broker import KeySearch
from tests.contract.broker_publications import CHAT, NEWS, store

SLACK_S = 1.0
"""The clocks of two edges, and that of NATS, agree to within their errors, which are milliseconds here."""


class BrokerSearch:
    """Tests of the contract that need `pair`, as `BrokerContract` makes it."""

    async def test_a_message_id_is_found_where_its_publication_is_stored(self, pair):
        a, b, _, _ = pair
        began = a.now() - SLACK_S
        first = await store(a, CHAT, 1, "key")
        await store(b, CHAT, 2, "another")
        await store(b, NEWS, 3, "elsewhere")
        assert (await b.index.search(CHAT, "key", began)).position == first
        assert await b.index.search(CHAT, "elsewhere", began) == KeySearch(None, 2, removed=False, unbroken=True)
        later = await b.index.search(CHAT, "key", a.now() + SLACK_S)
        assert (later.position, later.held) == (None, 0), "it looks only at what was stored since then"

    async def test_it_is_found_however_much_is_stored(self, pair):
        a, b, _, _ = pair
        began = a.now() - SLACK_S
        at = await asyncio.gather(*(store(a, NEWS, number, f"key {number}") for number in range(600)))
        for number in (0, 255, 256, 599):
            assert (await b.index.search(NEWS, f"key {number}", began)).position == at[number]
        assert (await b.index.search(NEWS, "none", began)).held == 600

    async def test_a_search_tells_what_may_be_missing(self, pair):
        a, b, _, _ = pair
        began = a.now() - SLACK_S
        for number in range(7):
            await store(a, CHAT, number, f"key {number}")
        pushed_out = await b.index.search(CHAT, "key 0", began)
        assert (pushed_out.position, pushed_out.held) == (None, 5), "as many as the channel keeps"
        await a.remove_history(CHAT)
        assert (await b.index.search(CHAT, "key 6", began)).removed
