"""Reads a channel's log after a position, with proof that nothing was evicted in between: what a client missed.

The log gives one of two proofs. Either the entry at that very position is still there: evictions take the oldest first,
so everything after it is there too. Or nothing of the whole stream was evicted from position + 1 on, and the channel's
own limit was not reached. Without a proof a client gets `recovered: false`, so that it never has to guess.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from proto.messages import Publication, StreamPosition
from services.edge.broker.broker import Broker, BrokerAway, ChannelAddress, LogEntry, LogPage
from services.edge.channels.channel import Channel
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.log_pages import READ_BATCH

_MAX_ROUNDS: Final = 100
"""Each round of a recovery reads to the end of the log; more than two happen only while a channel is flooded."""

_NEWEST_ROUNDS: Final = 20
"""Reads of the newest publication. A further one is needed only when a publication comes in just then."""

Missed = list[Publication] | None
"""The publications that a client missed, oldest first; None if they cannot be determined."""


class Continuation(NamedTuple):
    """The log after a position, up to its end. `whole`: there is proof that nothing in between was evicted.

    Without the proof, entries up to `lost_upto` may be missing, or (`other_epoch`) the log is another one.
    """

    entries: list[LogEntry]
    whole: bool
    lost_upto: int = 0
    other_epoch: bool = False


async def read_after(broker: Broker, channel: Channel, epoch: str, offset: int) -> Continuation:
    """Everything after `offset`; at most `history_size` entries, as the log holds no more. Raises `BrokerAway`."""
    entries: list[LogEntry] = []
    anchor, anchored = offset, True
    while True:
        page = await _from_anchor(broker, channel.address, anchor)
        if not (anchor and page.entries and page.entries[0].sequence == anchor):
            if entries:  # the last entry that was read is gone: the log is evicted faster than it is read
                return Continuation(entries, whole=False, lost_upto=entries[-1].sequence)
            anchored = False
        new = [entry for entry in page.entries if entry.sequence > anchor]
        entries.extend(new)
        for entry in new:
            if entry.removed_upto > offset:  # entries after the position were removed: the log goes on at the mark
                return Continuation(entries, whole=False, lost_upto=entry.sequence)
            anchored = anchored or entry.removed_upto > 0  # only entries before the position were removed
        if not new or not page.more:
            break
        anchor = new[-1].sequence
    if anchored:
        return Continuation(entries, whole=True)
    state = await broker.state(channel.address)
    untouched = state.epoch == epoch and state.first <= offset + 1
    whole = untouched and len(entries) < channel.rules.options.history_size
    lost_upto = entries[0].sequence - 1 if entries else state.last
    return Continuation(entries, whole, lost_upto, other_epoch=state.epoch != epoch)


async def _from_anchor(broker: Broker, address: ChannelAddress, anchor: int) -> LogPage:
    """What one read brings from `anchor` on; if that is only a large entry there, also what another one brings."""
    page = await broker.read(address, anchor, READ_BATCH)
    if not page.more or [entry.sequence for entry in page.entries] != [anchor]:
        return page
    following = await broker.read(address, anchor + 1, READ_BATCH)
    again = await broker.read(address, anchor, 1)  # still there, it proves that nothing after it was evicted by then
    held = [entry for entry in again.entries if entry.sequence == anchor]
    return LogPage(held + following.entries, following.more)


class Syncing(Protocol):
    """Brings a channel up to the end of its log (`ChannelSync`)."""

    async def synced(self, channel: Channel) -> None:
        """Waits until a sync that began after the call has ended."""


async def reach(broker: Broker, syncing: Syncing, channel: Channel, offset: int) -> bool:
    """Brings the channel up to the end of its log if a client claims to be further. False if the offset is made up.

    Another edge may have been ahead of this one. As it is only a client's claim, it moves nothing that others share.
    """
    log = channel.log
    assert log is not None
    if offset <= log.last:
        return True
    epoch = log.epoch
    state = await broker.state(channel.address)
    if state.epoch != epoch or offset > state.last:
        return False
    await syncing.synced(channel)  # begun after the state was read, so it has read everything up to there
    return True


def recover_from_ring(log: ChannelLog, since: StreamPosition, limit: int) -> Missed:
    """Like `recover`, but from the ring only. None means that the ring is not enough, not that recovery failed."""
    if since.epoch and since.epoch != log.epoch:
        return None
    missed = log.after(since.offset)
    return None if missed is None or (limit and len(missed) > limit) else missed


async def recover(broker: Broker, syncing: Syncing, channel: Channel, since: StreamPosition, limit: int) -> Missed:
    """The publications after `since` up to exactly `channel.log.last` as it is on return; None without proof of that.

    The ring answers if it reaches back that far, otherwise the log is read. None also for more than `limit`
    publications; 0 for no limit. Raises `BrokerAway`.
    """
    log = channel.log
    assert log is not None
    epoch = log.epoch
    if since.epoch and since.epoch != epoch:
        return None
    if since.offset > log.last:
        if not await reach(broker, syncing, channel, since.offset) or log.epoch != epoch:
            return None
        if since.offset > log.last:  # the stream came so far with other channels: this one has nothing in between
            return []
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
        read = await read_after(broker, channel, epoch, offset)
        if not read.whole:
            return None
        found.extend(entry.publication for entry in read.entries if entry.publication is not None)
        # Everything up to the mark was in the log when it was read, so the mark is reached even if there was no entry.
        offset = max([offset, mark, *(entry.sequence for entry in read.entries[-1:])])
        if offset > log.last:  # read further than the live messages have come
            await syncing.synced(channel)
            if offset > log.last:
                return None
    return None


# --- channels that are caches ---------------------------------------------------------------------------------------


async def recover_newest(broker: Broker, syncing: Syncing, channel: Channel, since: StreamPosition | None) -> Missed:
    """The newest publication as of `channel.log.last` on return; [] when the client has it already.

    None when there is no publication, or the client's position is made up. Raises `BrokerAway`.
    """
    log = channel.log
    assert log is not None
    offset = since.offset if since is not None and since.epoch == log.epoch else 0
    if not await reach(broker, syncing, channel, offset):
        return None
    newest = await _newest(broker, syncing, channel, log)
    if newest is None:
        return None
    return [newest] if newest.offset > offset else []


async def _newest(broker: Broker, syncing: Syncing, channel: Channel, log: ChannelLog) -> Publication | None:
    """The newest publication as of `log.last`. The log is asked, since the ring may hold one that has expired."""
    for _ in range(_NEWEST_ROUNDS):
        last = log.last
        entry = await broker.newest(channel.address)
        if entry is not None and entry.sequence > log.last:  # its live message is still on its way
            await syncing.synced(channel)
        if log.last == last:
            return None if entry is None else entry.publication
        newest = log.newest
        if newest is not None and newest.offset > last:  # it came just now
            return newest
    raise BrokerAway("the channel changes faster than it is read")
