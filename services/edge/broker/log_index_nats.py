"""The indexes of the logs: which entries a channel had, for much longer than the entries themselves are kept.

An index is a JetStream stream that follows a log's stream without the bodies (`chassis.nats.following`). It keeps the
newest `INDEXED_ENTRIES` of each channel for `history_meta_ttl`. So an edge that has never seen a channel can tell
whether anything of it was removed after a client's position: by age, by count, by a lowered limit, or by a purge.

The index is complete from its oldest message on. As busy channels push out their own messages only, the oldest one is
that of a quiet channel, or one of the messages that an edge stores every day for this purpose (`daily`).

`NatsAway` is passed on: `broker_nats` translates it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import Final

from proto import subjects
from proto.publications import removed_upto
from services.chassis.nats.following import Followed, follow, last_followed, read_followed, stream_names, unfollow
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers
from services.chassis.nats.streams import StreamState, store
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import INDEXED_ENTRIES, Indexed
from services.edge.broker.log_lineage import Lineage

log = logging.getLogger(__name__)

_READ: Final = 4
"""Entries that are read: the one at the position, a mark that it was removed, and the next ones."""
_CATCHING_UP_S: Final = 1.0
"""How long a recovery waits for the index to have read what is in the log. Usually a millisecond."""
_FIRST_WAIT_S: Final = 0.001
_MAKING_S: Final = 2.0
"""How long a recovery waits for an index that is being made, just after the start of an edge."""
_TENDING_S: Final = 6 * 3600.0
_RETRY_S: Final = 0.5
_DAY_S: Final = 86_400


@dataclass(slots=True)
class _Index:
    """One partition's index in one epoch. `usable` is done when it exists, or NATS has refused to make it.

    It may be that of an epoch that ended (`log_lineage`): the log goes on, so its index goes on too. `taken_over` are
    the addresses that it may have, the newest first, while the log has come to `last`.
    """

    source: str
    stored: str
    epoch: str
    address: subjects.IndexAddress
    taken_over: tuple[subjects.IndexAddress, ...]
    last: int
    max_age_s: float
    max_bytes: int
    usable: asyncio.Future[bool]
    tending: asyncio.Task[None] | None = None


class LogIndexes:
    """Makes the indexes of the logs, and asks them."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._indexes: dict[str, _Index] = {}  # by the log's stream
        self._tasks = Tasks()
        self.refused = False

    def follow(self, stream: str, stored: str, state: StreamState, max_age_s: float, max_bytes: int) -> None:
        """From now on the log `stream`, whose subjects are `stored`, is indexed in this epoch. Returns at once.

        The index keeps `max_bytes` (-1: no limit). The oldest messages go first, and it then reaches back less far.
        """
        known = self._indexes.get(stream)
        if known is not None:
            if known.epoch == state.epoch:
                return
            if known.tending is not None:
                known.tending.cancel()
        earlier = [epoch for epoch, _ in Lineage.of(state.metadata).earlier]
        self._begin(
            _Index(
                stream,
                stored,
                state.epoch,
                subjects.index_address(stream, stored, state.epoch),
                tuple(subjects.index_address(stream, stored, epoch) for epoch in earlier),
                state.last,
                max_age_s,
                max_bytes,
                asyncio.get_running_loop().create_future(),
            )
        )

    def renew(self, stream: str, state: StreamState) -> None:
        """The log `stream` is in another epoch now. Nothing for one that is not indexed."""
        index = self._indexes.get(stream)
        if index is not None:
            self.follow(stream, index.stored, state, index.max_age_s, index.max_bytes)

    def _begin(self, index: _Index) -> None:
        self._indexes[index.source] = index
        index.tending = self._tasks.start(self._tend(index))

    def stop(self) -> None:
        """Stops making indexes."""
        self._tasks.cancel()

    async def _tend(self, index: _Index) -> None:
        """Makes the index, and now and then ensures that it is still there and that the day has its message."""
        while True:
            try:
                await self._make(index)
                usable, wait_s = True, _TENDING_S
            except NatsRefused as error:
                if not self.refused:
                    log.warning(
                        "NATS does not keep the index of %s, so that clients of quiet channels are told of losses that "
                        "they did not have. It needs nats-server 2.14 or newer, and a fifth of history_max_bytes: %s",
                        index.source,
                        error,
                    )
                self.refused = True
                usable, wait_s = False, _TENDING_S
            except NatsAway as error:
                log.debug("the index of %s waits: %s", index.source, error)
                await asyncio.sleep(_RETRY_S)
                continue
            if not index.usable.done():
                index.usable.set_result(usable)
            await asyncio.sleep(wait_s)

    async def _make(self, index: _Index) -> None:
        there = await stream_names(self._link, index.address.prefix)
        for address in (index.address, *index.taken_over):
            if address.stream in there and await self._continues(index, address):
                index.address = address
                break
        name = index.address.stream
        for other in there:
            if other != name:  # of an epoch that is void
                await unfollow(self._link, other, index.source)
        await follow(
            self._link,
            name,
            index.source,
            index.address.delivery,
            max_msgs_per_subject=INDEXED_ENTRIES,
            max_age_s=index.max_age_s,
            max_bytes=index.max_bytes,
        )
        daily = (
            f"{index.address.daily}{int(time.time()) // _DAY_S}"  # another edge's clock may differ: one message more
        )
        if await last_followed(self._link, name, daily) is None:
            try:
                today = await store(self._link, daily, b"", None)
            except NatsRefused as error:  # the log is full, and refuses what is new
                log.debug("%s has no message of the day: %s", index.source, error)
                return
            await self._caught_up(name, today.sequence)

    async def _continues(self, index: _Index, address: subjects.IndexAddress) -> bool:
        """Whether an index is that of the log as it is. One that is ahead has read what the log has lost since."""
        if address == index.address:
            return True
        newest = await last_followed(self._link, address.stream)
        return newest is not None and newest.sequence <= index.last

    async def after(self, where: subjects.LogAddress, epoch: str, offset: int, upto: int) -> Indexed | None:
        """See `LogIndex.after`. Raises `NatsAway`."""
        try:
            return await self._after(where, epoch, offset, upto)
        except NobodyAnswers:  # the index was deleted: it is made again, from what the log still holds
            index = self._indexes.get(where.stream)
            if index is not None and index.usable.done():
                if index.tending is not None:
                    index.tending.cancel()
                self._begin(replace(index, usable=asyncio.get_running_loop().create_future()))
            raise

    async def _after(self, where: subjects.LogAddress, epoch: str, offset: int, upto: int) -> Indexed | None:
        index = self._indexes.get(where.stream)
        if index is None or index.epoch != epoch or not await self._is_usable(index):
            return None
        name = index.address.stream
        newest = await self._caught_up(name, upto)
        if newest is None:
            return None
        # If nothing was skipped since, this is the place of the position in the index; otherwise it is further on.
        place = max(1, offset - newest.skipped)
        before: Followed | None = None
        while True:
            entries, left = await read_followed(self._link, name, _READ, where.stored, place)
            after = [entry for entry in entries if entry.sequence > offset]
            before = entries[-len(after) - 1] if len(after) < len(entries) else before
            if after or not left:
                break
            place = entries[-1].number + 1
        count = len(after) + left
        if before is not None:
            complete_from = before
        elif not count and not offset:  # it was never used, as far as the index reaches
            return Indexed(0, 0, newest.sequence)
        elif count >= INDEXED_ENTRIES:
            return Indexed(0, count, newest.sequence, complete=False)
        else:
            oldest, _ = await read_followed(self._link, name, 1)
            if not oldest or oldest[0].sequence > offset + 1:
                return None
            complete_from = oldest[0]
        if complete_from.skipped != newest.skipped:  # the log has lost entries before the index read them
            return None
        marks = [entry for entry in after if 0 < removed_upto(entry.headers) <= offset]
        named = [entry for entry in after if entry not in marks]
        return Indexed(named[0].sequence if named else 0, count - len(marks), newest.sequence)

    @staticmethod
    async def _is_usable(index: _Index) -> bool:
        if not index.usable.done():
            await asyncio.wait([index.usable], timeout=_MAKING_S)
        return index.usable.done() and index.usable.result()

    async def _caught_up(self, name: str, upto: int) -> Followed | None:
        """The newest message of an index that has read the log up to `upto`; None if it does not come so far."""
        wait_s = _FIRST_WAIT_S
        while True:
            newest = await last_followed(self._link, name)
            if newest is not None and newest.sequence >= upto:
                return newest
            if wait_s > _CATCHING_UP_S:
                return None
            await asyncio.sleep(wait_s)
            wait_s *= 2
