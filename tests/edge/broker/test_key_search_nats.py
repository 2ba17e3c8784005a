"""What a search for a message id finds after JetStream has forgotten the id, and what it says of a log with gaps."""

from __future__ import annotations

import pytest

from proto import subjects
from services.edge.broker import key_search_nats
from services.edge.broker.broker import BrokerAway, ChannelAddress
from tests.contract.broker import CHAT, Listener, store
from tests.edge.broker.test_broker_nats import PARTITIONS, broker
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.nats_keys import forget_ids

pytestmark = pytest.mark.integration

WHERE = subjects.log_address("chat", PARTITIONS, CHAT.channel)


async def test_an_id_that_jetstream_has_forgotten_is_found(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        began = a.now() - 1
        first = await store(a, CHAT, 1, "key")
        async with linked(nats_server.url) as link:
            await forget_ids(link, WHERE.stream)
        a._publisher.keys._since = 0.0  # long ago: so the stream KEYS is not asked either

        async def doubled() -> None:
            assert (await store(a, CHAT, 2, "key")).offset > first.offset

        await eventually(doubled)
        assert (await a.index.search(CHAT, "key", began)).position == first


async def test_a_log_that_has_lost_its_oldest_entries_says_so(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        began = a.now() - 1
        assert (await a.index.search(CHAT, "none", began)).unbroken, "nothing was ever stored"
        first = await store(a, CHAT, 1, "key")
        other = next(
            address
            for number in range(100)
            if subjects.log_address("chat", PARTITIONS, f"chat:{number}").stream == WHERE.stream
            for address in [ChannelAddress(f"chat:{number}", "chat")]
        )
        await store(a, other, 2)
        assert (await a.index.search(CHAT, "none", began)).unbroken
        async with linked(nats_server.url) as link:
            # As for lack of room: all that is older goes too.
            await link.stream_manager().purge_stream(WHERE.stream, seq=first.offset + 1)

        async def lost() -> None:
            found = await a.index.search(CHAT, "key", began)
            assert (found.position, found.held, found.unbroken) == (None, 0, False)

        await eventually(lost)
        assert (await a.index.search(CHAT, "none", a.now() + 1)).unbroken, "what is left is older than that"


async def test_a_search_that_takes_too_long_ends(nats_server, monkeypatch):
    monkeypatch.setattr(key_search_nats, "_WITHIN_S", 0.0)
    async with broker(nats_server.url, Listener()) as a:
        with pytest.raises(BrokerAway, match="too much is stored"):
            await a.index.search(CHAT, "key", a.now())
