"""The proofs behind `recovered: true`: the entries that the log must still hold for that."""

from __future__ import annotations

import pytest

from proto.messages import Publication
from services.edge.broker.broker import INDEXED_ENTRIES, READ_BYTES, ChannelAddress, LogEntry, LogPage
from services.edge.channels.log_pages import READ_BATCH
from services.edge.channels.recovery import read_after
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.namespaces import rules_of


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


async def after(edge: TestEdge, channel: str, offset: int) -> tuple[list[int], bool]:
    with edge.node.channels.using(channel, rules_of(channel)) as used:
        await edge.node.sync.opened(used)
        assert used.log is not None
        found: list[int] = []
        while True:
            read = await read_after(edge.broker, used, used.log.epoch, offset)
            found += [entry.sequence for entry in read.entries]
            if not read.more or not read.whole:
                return found, read.whole
            offset = found[-1]


async def publish(edge: TestEdge, channel: str, count: int) -> None:
    for i in range(count):
        await edge.publish(channel, i)


async def test_the_entry_at_the_position_proves_everything_behind_it(edge):
    await publish(edge, "chat:x", 5)
    assert await after(edge, "chat:x", 2) == ([3, 4, 5], True)
    assert await after(edge, "chat:x", 5) == ([], True)


async def test_the_position_need_not_be_retained_but_everything_after_it(edge):
    await publish(edge, "chat:x", 15)  # ten are kept: 6 to 15
    assert await after(edge, "chat:x", 6) == (list(range(7, 16)), True)
    assert await after(edge, "chat:x", 5) == (list(range(6, 16)), True)
    assert await after(edge, "chat:x", 4) == (list(range(6, 16)), False)


async def test_without_that_entry_an_untouched_stream_proves_it(edge):
    await publish(edge, "chat:other", 3)
    await publish(edge, "chat:x", 2)
    assert await after(edge, "chat:x", 3) == ([4, 5], True), "3 is of another channel, and nothing was evicted"


async def test_what_the_stream_lost_of_other_channels_does_not_matter(edge):
    await publish(edge, "chat:other", 15)  # 1 to 5 are evicted
    await publish(edge, "chat:x", 1)
    for offset in (0, 3, 5):
        assert await after(edge, "chat:x", offset) == ([16], True)


async def test_beyond_the_index_the_entry_at_the_position_proves_everything_behind_it(edge):
    await publish(edge, "news:x", INDEXED_ENTRIES + 2)
    await publish(edge, "news:y", 1)
    assert await after(edge, "news:x", 1) == (list(range(2, INDEXED_ENTRIES + 3)), True)
    await publish(edge, "chat:x", 2 * INDEXED_ENTRIES)
    assert (await after(edge, "chat:x", INDEXED_ENTRIES + 3))[1] is False


async def test_many_reads_are_one_gapless_piece(edge):
    await publish(edge, "news:x", 3 * READ_BATCH + 7)
    entries, whole = await after(edge, "news:x", 1)
    assert entries == list(range(2, 3 * READ_BATCH + 8)) and whole


async def test_entries_that_fill_a_read_by_themselves_are_one_gapless_piece_too(edge):
    for _ in range(4):
        await edge.publish("news:x", "x" * READ_BYTES)
    assert await after(edge, "news:x", 1) == ([2, 3, 4], True)


async def test_a_large_entry_that_goes_while_it_is_read_proves_nothing(edge, monkeypatch):
    for _ in range(4):
        await edge.publish("news:x", "x" * READ_BYTES)
    read = edge.broker.read

    async def evicting(address, from_offset: int, limit: int) -> LogPage:
        page: LogPage = await read(address, from_offset, limit)
        if from_offset == 2:  # the entry at 1 was read: it and the next one go before the log is read on
            later = [entry for entry in page.entries if entry.sequence > 2]
            edge.shared.logs["news"].remove("news:x", 2)
            return LogPage(later or (await read(address, 3, limit)).entries, page.more)
        return page

    monkeypatch.setattr(edge.broker, "read", evicting)
    assert (await after(edge, "news:x", 1))[1] is False


async def test_a_log_that_evicts_while_it_is_read_proves_nothing(edge, monkeypatch):
    await publish(edge, "news:x", 2 * READ_BATCH)
    read = edge.broker.read

    async def evicting(address, from_offset: int, limit: int) -> LogPage:
        if from_offset > 1:
            edge.shared.logs["news"].remove("news:x", from_offset + 3)
        page: LogPage = await read(address, from_offset, limit)
        return page

    monkeypatch.setattr(edge.broker, "read", evicting)
    assert (await after(edge, "news:x", 1))[1] is False


async def test_places_without_a_publication_count_as_places(edge, monkeypatch):
    await publish(edge, "chat:x", 3)
    read = edge.broker.read

    async def with_a_broken_one(address, from_offset: int, limit: int) -> LogPage:
        page: LogPage = await read(address, from_offset, limit)
        broken: list[LogEntry] = [
            LogEntry(e.sequence, None if e.sequence == 2 else e.publication) for e in page.entries
        ]
        return LogPage(broken, page.more)

    monkeypatch.setattr(edge.broker, "read", with_a_broken_one)
    with edge.node.channels.using("chat:x", rules_of("chat:x")) as used:
        await edge.node.sync.opened(used)
        assert used.log is not None
        entries, whole, *_ = await read_after(edge.broker, used, used.log.epoch, 1)
    assert whole and [e.publication is None for e in entries] == [True, False]
    assert all(isinstance(e.publication, Publication) for e in entries[1:])


ADDRESS = ChannelAddress("chat:x", "chat")


async def remove(edge: TestEdge, channel: str) -> None:
    await edge.node.history.remove(channel, rules_of(channel))


async def test_a_removed_history_proves_nothing_to_whoever_had_not_read_it(edge):
    await publish(edge, "chat:x", 3)
    await remove(edge, "chat:x")  # the mark is 4
    await publish(edge, "chat:x", 1)
    for offset in (0, 1, 2):
        assert await after(edge, "chat:x", offset) == ([4, 5], False)


async def test_and_everything_to_whoever_had(edge):
    await publish(edge, "chat:x", 3)
    await remove(edge, "chat:x")
    await publish(edge, "chat:other", 20)  # 5 to 14 are evicted: the stream itself proves nothing
    await publish(edge, "chat:x", 1)
    assert await after(edge, "chat:x", 3) == ([4, 25], True)
    assert await after(edge, "chat:x", 4) == ([25], True)
    assert await after(edge, "chat:x", 25) == ([], True)


async def test_the_mark_itself_is_the_proof_where_the_stream_has_lost_something_since(edge):
    await publish(edge, "chat:x", 3)
    await publish(edge, "chat:other", 20)  # 4 to 13 are evicted
    await remove(edge, "chat:x")
    assert await after(edge, "chat:x", 3) == ([24], True)
    assert await after(edge, "chat:x", 2) == ([24], False)


async def test_a_history_that_is_removed_again_and_again(edge):
    for _ in range(3):
        await publish(edge, "chat:x", 1)
        await remove(edge, "chat:x")  # 1, mark 2, 3, mark 4, 5, mark 6
    assert await after(edge, "chat:x", 5) == ([6], True)
    for offset in (0, 1, 2, 3, 4):
        assert (await after(edge, "chat:x", offset))[1] is False, offset


async def test_a_mark_counts_before_what_it_marks_is_gone(edge, monkeypatch):
    """An edge may die between the two steps of a removal."""
    await publish(edge, "chat:x", 3)
    left = await edge.broker.read(ADDRESS, 0, 10)
    await remove(edge, "chat:x")
    read = edge.broker.read

    async def with_the_removed(address, from_offset: int, limit: int) -> LogPage:
        page: LogPage = await read(address, from_offset, limit)
        return LogPage([e for e in [*left.entries, *page.entries] if e.sequence >= from_offset], page.more)

    monkeypatch.setattr(edge.broker, "read", with_the_removed)
    assert await after(edge, "chat:x", 1) == ([2, 3, 4], False)
    assert await after(edge, "chat:x", 3) == ([4], True)


async def test_that_a_history_is_gone_is_known_after_one_read_of_it():
    now = 0.0
    cluster = EdgeCluster(lambda: now)
    edge = await TestEdge(cluster).start()
    await publish(edge, "chat:x", 8)
    now = 1e6
    with edge.node.channels.using("chat:x", rules_of("chat:x")) as used:
        await edge.node.sync.opened(used)
        assert used.log is not None
        used.log.start(used.log.epoch, 8)
        edge.broker.reads = 0
        read = await read_after(edge.broker, used, used.log.epoch, 3, 3, thorough=True)
    assert (read.entries, read.whole, edge.broker.reads) == ([], False, 1)
