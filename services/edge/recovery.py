"""Reading a channel's log from a position on, with proof that nothing was evicted in between; and what a client missed.

The log gives one of two proofs. Either the entry at the very position is still there: evictions take the oldest first,
so everything after it is there too. Or nothing of the whole stream was evicted from position + 1 on, and the channel's
own limit was not reached. Without a proof a client is told `recovered: false`: never left to guess.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from proto.messages import Publication, StreamPosition
from services.edge.broker import Broker, Entry
from services.edge.channel import Channel

READ_BATCH: Final = 256
_MAX_ROUNDS: Final = 100
"""Each round of a recovery reads to the end of the log; more than two happen only while a channel is flooded."""

Missed = list[Publication] | None


class Continuation(NamedTuple):
    """The log after a position, up to its end. `whole`: it is proven that nothing in between was evicted.

    When it is not, the log is known again from behind `lost_upto` on.
    """

    entries: list[Entry]
    whole: bool
    lost_upto: int = 0


async def read_after(broker: Broker, channel: Channel, epoch: str, offset: int) -> Continuation:
    """Everything after `offset`; at most `history_size` entries, as the log holds no more. Raises `BrokerAway`."""
    entries: list[Entry] = []
    anchor, anchored = offset, True
    while True:
        stretch = await broker.read(channel.address, anchor, READ_BATCH)
        if not (anchor and stretch.entries and stretch.entries[0].sequence == anchor):
            if entries:  # what was read last is gone: the log is evicting faster than it is read
                return Continuation(entries, whole=False, lost_upto=entries[-1].sequence)
            anchored = False
        new = [entry for entry in stretch.entries if entry.sequence > anchor]
        entries.extend(new)
        if not new or not stretch.more:
            break
        anchor = new[-1].sequence
    if anchored:
        return Continuation(entries, whole=True)
    state = await broker.state(channel.address)
    untouched = state.epoch == epoch and state.first <= offset + 1
    whole = untouched and len(entries) < channel.rules.options.history_size
    return Continuation(entries, whole, lost_upto=entries[0].sequence - 1 if entries else state.last)


class Syncing(Protocol):
    """Who can bring a channel up to the end of its log."""

    async def synced(self, channel: Channel) -> None: ...


async def recover(broker: Broker, syncing: Syncing, channel: Channel, since: StreamPosition, limit: int) -> Missed:
    """The publications after `since` up to exactly `channel.log.last` as it is on return, None when that cannot be had.

    The ring answers if it reaches back that far, otherwise the log is read. More than `limit` are not recovered, 0 for
    no limit. Raises `BrokerAway`.
    """
    log = channel.log
    assert log is not None
    epoch = log.epoch
    if since.epoch and since.epoch != epoch:
        return None
    if since.offset > log.last and not await _reach(broker, syncing, channel, since.offset):
        return None
    offset = since.offset
    found: list[Publication] = []
    for _ in range(_MAX_ROUNDS):
        if log.epoch != epoch or (limit and len(found) > limit):
            return None
        tail = log.after(offset)
        if tail is not None:
            missed = found + tail
            return None if limit and len(missed) > limit else missed
        mark = log.last
        entries, whole, _ = await read_after(broker, channel, epoch, offset)
        if not whole:
            return None
        found.extend(entry.publication for entry in entries if entry.publication is not None)
        # Everything up to the mark was in the log when it was read, so the mark is reached even if nothing was there.
        offset = max([offset, mark, *(entry.sequence for entry in entries[-1:])])
        if offset > log.last and not await _reach(broker, syncing, channel, offset):
            return None
    return None


async def _reach(broker: Broker, syncing: Syncing, channel: Channel, offset: int) -> bool:
    """Brings the channel to `offset`, which it has not come to yet. False when the log has not either."""
    log = channel.log
    assert log is not None
    epoch = log.epoch
    await syncing.synced(channel)
    if offset <= log.last:
        return True
    state = await broker.state(channel.address)
    if state.epoch != epoch or log.epoch != epoch or offset > state.last:
        return False
    # Synced, and the stream has come so far with messages of other channels: nothing of this one lies in between.
    log.pass_to(offset)
    return True
