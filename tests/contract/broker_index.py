"""What every index of the logs says: a part of `broker.BrokerContract`."""

from __future__ import annotations

import itertools

from proto.subjects import partition_of
from services.edge.broker.broker import INDEXED_ENTRIES, Broker, ChannelAddress
from tests.contract.broker_publications import CHAT, NEWS, Pair, store


def same_partition(name: str) -> ChannelAddress:
    """A channel of `CHAT`'s partition, however many there are."""
    wanted = partition_of(CHAT.channel, 48)  # the same for every divisor of 48
    names = (f"chat:{name}{i}" for i in itertools.count())
    return ChannelAddress(next(name for name in names if partition_of(name, 48) == wanted), CHAT.history_class)


async def with_index(pair: Pair) -> Pair:
    """The pair, once the logs are indexed: what is removed before the index has read it is missing there."""
    for address in (CHAT, NEWS):
        await pair[0].index.after(address, pair[0].epoch(address), 0, 0)
    return pair


async def store_indexed(broker: Broker, count: int) -> list[int]:
    """Publishes to `CHAT`, each one when the index has read the one before. Returns the offsets.

    During a burst the log evicts entries that the index has not read yet; then the index says that it is incomplete.
    """
    offsets = []
    for number in range(count):
        offsets.append((await store(broker, CHAT, number)).offset)
        assert await broker.index.after(CHAT, broker.epoch(CHAT), 0, offsets[-1]) is not None
    return offsets


def of(sequences: list[int]) -> tuple[int, int]:
    """The answer of an index about these entries."""
    return (sequences[0] if sequences else 0), len(sequences)


class BrokerIndex:
    """Tests of the contract that need `pair`, as `BrokerContract` makes it."""

    async def test_the_index_names_what_the_log_no_longer_holds(self, pair):
        a, b, _, _ = await with_index(pair)
        offsets = await store_indexed(a, 9)
        epoch = b.epoch(CHAT)
        for back in range(9):
            indexed = await b.index.after(CHAT, epoch, offsets[back], offsets[-1], offsets[-2])
            assert indexed is not None and indexed[:2] == of(offsets[back + 1 :]) and indexed.upto >= offsets[-1]
            assert indexed.named == frozenset(offsets[back + 1 : -1])

    async def test_the_index_names_nothing_of_a_channel_that_is_quiet_or_was_never_used(self, pair):
        a, b, _, _ = await with_index(pair)
        quiet = (await store(a, same_partition("quiet"), 0)).offset
        for i in range(2 * INDEXED_ENTRIES):
            last = (await store(a, CHAT, i)).offset
        for name, offset in (("quiet", quiet), ("quiet", quiet + 9), ("unused", 0), ("unused", quiet)):
            indexed = await b.index.after(same_partition(name), b.epoch(CHAT), offset, last)
            assert indexed is not None and indexed[:2] == of([]), (name, offset)

    async def test_the_index_does_not_guess(self, pair):
        a, b, _, _ = await with_index(pair)
        offsets = await store_indexed(a, INDEXED_ENTRIES + 2)
        epoch, last = a.epoch(CHAT), offsets[-1]
        indexed = await b.index.after(CHAT, epoch, offsets[0] - 1, last)
        assert indexed is not None and not indexed.whole, "it keeps fewer entries than that"
        indexed = await b.index.after(CHAT, epoch, offsets[2], last)
        assert indexed is not None and indexed[:2] == of(offsets[3:])
        assert await b.index.after(CHAT, "another", offsets[-1], last) is None

    async def test_a_removed_history_is_indexed(self, pair):
        a, b, _, _ = await with_index(pair)
        offsets = await store_indexed(a, 3)
        await a.remove_history(CHAT)
        last = (await store(a, CHAT, 3)).offset
        indexed = await b.index.after(CHAT, a.epoch(CHAT), offsets[0], last)
        assert indexed is not None and indexed.first == offsets[1] and indexed.total >= 3
