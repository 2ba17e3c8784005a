"""Reads what a client missed: a channel's log after a position, with proof that nothing was evicted in between.

The index of the log names the entries that the channel had after the position, as far as the log was read. The log must
hold each of them: evictions take the oldest first, and somebody may have deleted one in the middle. Missing entries are
known by their sequences, so entries that arrive meanwhile do not matter. If there were more entries than the index
keeps, an entry at exactly that position is the proof: no limit has evicted anything after it. Another proof is a stream
of which nothing was evicted by age from position + 1 on, while the limit for the channel was not reached. Without a
proof a client gets `recovered: false`, so that it never has to guess.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Protocol

from proto.messages import Publication, StreamPosition
from services.edge.broker.broker import Broker, BrokerAway, ChannelAddress, LogEntry, LogPage
from services.edge.channels.channel import Channel
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.log_pages import READ_BATCH

_PROOF_ROUNDS: Final = 6
"""Reads of a log for one proof. More than one is needed only if a publication comes in just then, or if the replica
that answers is behind."""

_REPLICA_S: Final = 0.02
"""How long a replica gets to catch up before it is asked again."""

_MUCH: Final = 16 * 1024 * 1024
"""Bytes of a log. The index has read an entry long before so many bytes come after it."""

_NEWEST_ROUNDS: Final = 20
"""Reads of the newest publication. More than one is needed only if a publication comes in just then."""

Missed = list[Publication] | None
"""The publications that a client missed, oldest first; None if they cannot be determined."""


class Continuation(NamedTuple):
    """The log after a position. `whole`: there is proof that nothing after it was evicted. `more`: the log continues.

    Without the proof, entries up to `lost_upto` may be missing, or (`other_epoch`) the log is another one.
    """

    entries: list[LogEntry]
    whole: bool
    more: bool = False
    lost_upto: int = 0
    other_epoch: bool = False


async def read_after(
    broker: Broker, channel: Channel, epoch: str, offset: int, limit: int = READ_BATCH, *, thorough: bool = False
) -> Continuation:
    """The next entries after `offset`, as many as one read of `limit` entries brings. Raises `BrokerAway`.

    The proof covers what was read: up to the last entry or, if there is no `more`, at least up to where the channel was
    before the call. Beyond that, no limit has evicted anything either; entries that were deleted there are noticed when
    that is read. `thorough`: they are noticed now, unless others publish meanwhile.
    """
    address, before = channel.address, 0
    for left in reversed(range(_PROOF_ROUNDS)):
        reached = 0 if channel.log is None or channel.log.epoch != epoch else channel.log.last
        page = await _from_anchor(broker, address, offset, limit)
        anchored = bool(offset and page.entries and page.entries[0].sequence == offset)
        entries = [entry for entry in page.entries if entry.sequence > offset]
        for entry in entries:
            if entry.removed_upto > offset:  # entries after the position were removed: the log continues at the mark
                return Continuation(entries, whole=False, more=page.more, lost_upto=entry.sequence)
            anchored = anchored or entry.removed_upto > 0  # only entries before the position were removed
        upto = entries[-1].sequence if entries else offset
        named_upto = upto if page.more else max(upto, reached)
        first = next((entry.sequence for entry in entries if not entry.removed_upto), 0)
        proven = anchored and not thorough  # by the entry at the position, if none is missing in between
        state = None if proven else await broker.state(address)
        read_upto = named_upto if state is None else state.last
        indexed = await broker.index.after(address, epoch, offset, read_upto, named_upto, first)
        missing = [] if indexed is None else sorted(indexed.named.difference(entry.sequence for entry in entries))
        if missing and missing[0] > upto and left and (state is None or state.first <= missing[0]):
            await asyncio.sleep(_REPLICA_S)  # the entry was in the log: the replica that answers may be behind
            continue
        if missing or state is None:
            return Continuation(entries, not missing, page.more, missing[-1] if missing else 0)
        held = sum(not entry.removed_upto for entry in entries) + page.left
        fewer = held < state.limit and state.raised_at <= offset  # than the log keeps of a channel
        if indexed is None or indexed.contradicts(first, held):
            # Where NATS keeps no index: nothing of the stream was evicted by age, and the limit was not reached.
            whole = anchored or (not broker.index.kept and state.first <= offset + 1 and fewer)
            break
        counts = thorough or not page.more
        if counts and held < indexed.total and held < (before or indexed.total) and indexed.total > before and left:
            before = indexed.total  # some were removed, or came since the page was read: the next page shows which
            continue
        unread = state.first > offset + 1 and 0 <= state.max_bytes < _MUCH  # perhaps evicted before the index read it
        fewer = fewer and offset >= indexed.unbroken_since and not unread
        agrees = not counts or held == indexed.total or 0 < before <= held
        whole = agrees and (not first or first == indexed.first) and (indexed.whole or anchored or fewer)
        break
    assert state is not None  # the last round has found a proof, or that there is none
    other_epoch = state.epoch != epoch
    lost_upto = entries[0].sequence - 1 if entries else state.last
    return Continuation(entries, whole and not other_epoch, page.more, lost_upto, other_epoch)


async def _from_anchor(broker: Broker, address: ChannelAddress, anchor: int, limit: int) -> LogPage:
    """Reads from `anchor` on. If that brings only a large entry at `anchor`, reads the next ones as well."""
    page = await broker.read(address, anchor, limit)
    if not page.more or [entry.sequence for entry in page.entries] != [anchor]:
        return page
    following = await broker.read(address, anchor + 1, limit)
    again = await broker.read(address, anchor, 1)  # still there, it proves that nothing after it was evicted by then
    held = [entry for entry in again.entries if entry.sequence == anchor]
    return LogPage(held + following.entries, following.left)


class Syncing(Protocol):
    """Brings a channel up to the end of its log (`ChannelSync`)."""

    async def synced(self, channel: Channel) -> None:
        """Waits until a sync that began after the call has ended."""


async def reach(broker: Broker, syncing: Syncing, channel: Channel, offset: int) -> bool:
    """Brings the channel up to the end of its log if a client claims to be further. False if the offset is made up.

    Another edge may have been ahead of this one. A mere claim of a client changes nothing that others share.
    """
    log = channel.log
    assert log is not None
    if offset <= log.last:
        return True
    epoch = log.epoch
    state = await broker.state(channel.address)
    if state.epoch != epoch or offset > state.last:
        return False
    await syncing.synced(channel)  # the sync begins after the state was read, so it reads everything up to there
    return True


async def recover_newest(broker: Broker, syncing: Syncing, channel: Channel, since: StreamPosition | None) -> Missed:
    """The newest publication as of `channel.log.last` on return; [] if the client has it already.

    None if there is no publication, or the client's position is made up. Raises `BrokerAway`.
    """
    log = channel.log
    assert log is not None
    if since is not None:
        since = broker.continued(channel.address, since)
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
            return None if entry is None else await _publication(broker, channel, entry)
        newest = log.newest
        if newest is not None and newest.offset > last:  # it came just now
            return newest
    raise BrokerAway("the channel changes faster than it is read")


async def _publication(broker: Broker, channel: Channel, newest: LogEntry) -> Publication | None:
    """The publication of the newest entry. If the entry is a removal mark, the publication that was the newest before,
    if the log still holds it: when a user is erased, the publications of others stay."""
    if newest.publication is not None or not newest.removed_upto:
        return newest.publication
    page = await broker.read(channel.address, newest.removed_upto, 1)
    kept = (entry.publication for entry in page.entries if entry.sequence == newest.removed_upto)
    return next(kept, None)
