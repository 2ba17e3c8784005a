"""Pages of the log, and their cost in reads and in entries read in vain."""

from __future__ import annotations

import pytest

from services.edge.broker.broker import Broker, ChannelAddress, LogPage
from services.edge.channels.log_pages import READ_BATCH, page_before, page_from
from tests.support.cluster import EdgeCluster, TestEdge

NEWS = ChannelAddress("news:x", "news")


class Counted:
    """The edge's broker, with counts of its reads."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.reads = 0
        self.entries = 0

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> LogPage:
        self.reads += 1
        page = await self._broker.read(address, from_offset, limit)
        self.entries += len(page.entries)
        return page


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


@pytest.fixture
def broker(edge: TestEdge) -> Counted:
    return Counted(edge.broker)


async def publish(edge: TestEdge, channel: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        await edge.publish(channel, number)


async def newest(broker: Counted, before: int, limit: int) -> list[int]:
    found = await page_before(broker, NEWS, before, limit)  # type: ignore[arg-type]  # all that it uses of a broker
    return [int(bytes(publication.data)) for publication in found]


async def test_the_newest_of_a_long_history_cost_what_they_are(edge: TestEdge, broker: Counted) -> None:
    await publish(edge, "news:x", 2000)
    assert await newest(broker, 2001, 1) == [1999]
    assert await newest(broker, 2001, 10) == list(range(1999, 1989, -1))
    assert (broker.reads, broker.entries) == (2, 128)


async def test_all_of_it_is_found_newest_first_without_a_gap(edge: TestEdge, broker: Counted) -> None:
    await publish(edge, "news:x", 700)
    everything = list(range(699, -1, -1))
    assert await newest(broker, 701, 5000) == everything
    for limit in (1, 63, 64, 65, READ_BATCH + 1, 699, 700):
        for before in (1, 2, 65, 300, 701):
            assert await newest(broker, before, limit) == everything[701 - before :][:limit]


async def test_a_quiet_channel_in_a_busy_log_costs_a_few_reads(edge: TestEdge, broker: Counted) -> None:
    await publish(edge, "news:x", 3)
    await publish(edge, "news:other", 4000)
    await publish(edge, "news:x", 1, first=3)
    assert await newest(broker, 4005, 3) == [3, 2, 1]
    assert broker.reads <= 8 and broker.entries <= 12


async def test_a_channel_that_others_interrupt_now_and_then_is_not_read_far_beyond(
    edge: TestEdge, broker: Counted
) -> None:
    for number in range(30):
        await publish(edge, "news:x", 99, first=99 * number)
        await publish(edge, "news:other", 1)
    assert await newest(broker, 3001, 1000) == list(range(2969, 1969, -1))
    assert broker.reads <= 8 and broker.entries <= 1100


async def test_a_channel_that_keeps_less_than_is_asked_for_is_read_once(edge: TestEdge, broker: Counted) -> None:
    await publish(edge, "news:other", 4000)
    await publish(edge, "news:x", 20)
    assert await newest(broker, 4021, 100) == list(range(19, -1, -1))
    assert (broker.reads, broker.entries) == (2, 21)


async def test_forwards_a_page_ends_with_the_limit_or_the_log(edge: TestEdge, broker: Counted) -> None:
    await publish(edge, "news:x", 600)

    async def page(offset: int, limit: int) -> list[int]:
        found = await page_from(broker, NEWS, offset, limit)  # type: ignore[arg-type]  # as above
        return [int(bytes(publication.data)) for publication in found]

    assert await page(1, 5000) == list(range(600))
    assert await page(11, 300) == list(range(10, 310))
    assert await page(601, 1) == await page(1, 0) == []


async def test_no_more_is_read_than_a_reply_has_room_for(edge: TestEdge, broker: Counted) -> None:
    for number in range(300):
        await edge.publish("news:x", str(number) + "x" * 50_000)
    page = await page_from(broker, NEWS, 1, 300, room=200_000)  # type: ignore[arg-type]  # as above
    assert [publication.offset for publication in page] == list(range(1, len(page) + 1)) and 4 <= len(page) <= 8
    assert broker.entries <= 8
    page = await page_before(broker, NEWS, 301, 300, room=200_000)  # type: ignore[arg-type]  # as above
    assert [publication.offset for publication in page] == list(range(300, 300 - len(page), -1))
    assert len(page) >= 4 and broker.entries <= 8 + 64, "a window beyond what is needed, and no other"
