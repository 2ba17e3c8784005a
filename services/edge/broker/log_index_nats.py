"""The indexes of the logs: which entries a channel had, for much longer than the entries themselves are kept.

An index is a JetStream stream that follows a log's stream without the bodies (`chassis.nats.following`). It keeps the
newest entries of each channel, more than the log does, for `history_meta_ttl`. So an edge that has never seen a channel
can tell whether anything of it was removed after a client's position: by age, by count, by a lowered limit, or by a
purge.

The index is complete from its oldest message on. Busy channels push out only their own messages, so the oldest one is
of a quiet channel, or one of the messages that an edge stores every day for this purpose (`daily`).

`NatsAway` is passed on: `broker_nats` translates it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Final

from proto import subjects
from proto.publications import removed_upto
from services.chassis.nats.following import (
    Followed,
    Unsupported,
    follow,
    forget_source,
    last_followed,
    read_followed,
    stream_names,
    unfollow,
)
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers, header, header_block
from services.chassis.nats.stream_reads import read_last_of
from services.chassis.nats.streams import StreamState, store
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import INDEXED_ENTRIES, READ_BYTES, Indexed
from services.edge.broker.log_lineage import Lineage

log = logging.getLogger(__name__)

_READ: Final = 4
"""Entries that are read at once: the one at the position, a mark that it was removed, and the next ones."""
_NAMED: Final = 256
"""Entries that are read at once if entries are to be named: as many as one read of a log brings."""
_NAMING_AT_ONCE: Final = 8
"""Reads of `_NAMED` entries in progress, each of `READ_BYTES`: like the reads of logs, they are little for NATS to
send."""
_CATCHING_UP_S: Final = 1.0
"""How long a recovery waits until the index has caught up with the log. Usually a millisecond."""
_LEADER: Final = b"Fairlead-Leader"
_FIRST_WAIT_S: Final = 0.001
_MAKING_S: Final = 2.0
"""How long a recovery waits for an index that is being made, just after the start of an edge."""
_TENDING_S: Final = 6 * 3600.0
_RETRY_S: Final = 0.5
_REFUSED_S: Final = 30.0
_DAY_S: Final = 86_400


@dataclass(slots=True)
class _Index:
    """One partition's index in one epoch. `tried` is set when it exists, or NATS has refused to make it for now.

    It may have begun in an epoch that has ended (`log_lineage`): as the log continues, its index does, too. It has
    kept at least `kept` entries of each channel at any time.
    """

    source: str
    stored: str
    epoch: str
    address: subjects.IndexAddress
    max_age_s: float
    max_bytes: int
    size: int
    replicas: int
    leader: str  # leads the log: under another leader the log may have lost entries that the index has not read
    tried: asyncio.Event
    kept: int = 0
    behind: int = 0  # how often the index did not catch up with its log
    usable: bool = False
    tending: asyncio.Task[None] | None = None

    @property
    def break_subject(self) -> str:
        """The subject of the messages after which the index has been read without a break."""
        return f"{self.address.daily}break"

    @property
    def wanted(self) -> tuple[object, ...]:
        """What was asked for; an index that differs in this is made again."""
        return self.epoch, self.address, self.max_age_s, self.max_bytes, self.size, self.replicas, self.leader


class LogIndexes:
    """Makes the indexes of the logs, and answers questions from them."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._indexes: dict[str, _Index] = {}  # by the log's stream
        self._tasks = Tasks()
        self._naming = asyncio.Semaphore(_NAMING_AT_ONCE)
        self.refused: set[str] = set()  # logs for which the server cannot keep an index

    def follow(
        self,
        stream: str,
        stored: str,
        state: StreamState,
        max_age_s: float,
        max_bytes: int,
        history_size: int,
        replicas: int = 0,
    ) -> None:
        """Indexes the log `stream`, whose subjects are `stored`, in this epoch from now on. Returns at once.

        The index keeps `max_bytes` (-1: no limit). Beyond that the oldest messages go first, so that it does not reach
        back as far.
        """
        size = max(INDEXED_ENTRIES, history_size + 1)
        begun_in = Lineage.of(state.metadata).indexed_since
        address = subjects.index_address(stream, stored, begun_in)
        leader = (state.leader or self._link.server_id).removesuffix("@")  # outside of a cluster no time follows the @
        index = _Index(
            stream, stored, state.epoch, address, max_age_s, max_bytes, size, replicas, leader, asyncio.Event()
        )
        known = self._indexes.get(stream)
        if known is not None:
            if known.wanted == index.wanted:
                return
            if known.tending is not None:
                known.tending.cancel()
        self._begin(index)

    def renew(self, stream: str, state: StreamState) -> None:
        """The log `stream` is in another epoch now. Does nothing if the log is not indexed."""
        index = self._indexes.get(stream)
        if index is not None:
            self.follow(stream, index.stored, state, index.max_age_s, index.max_bytes, index.size - 1, index.replicas)

    def forget(self, stream: str) -> None:
        """This edge no longer indexes the log `stream`. The index itself stays."""
        index = self._indexes.pop(stream, None)
        if index is not None and index.tending is not None:
            index.tending.cancel()

    def _begin(self, index: _Index) -> None:
        self._indexes[index.source] = index
        index.tending = self._tasks.start(self._tend(index))

    def stop(self) -> None:
        """Stops making indexes."""
        self._tasks.cancel()

    async def _tend(self, index: _Index) -> None:
        """Makes the index, and now and then ensures that it still exists and that today's message is stored."""
        while True:
            wait_s = _TENDING_S
            try:
                await self._make(index)
                index.usable = True
                self.refused.discard(index.source)
            except NatsRefused as error:
                index.usable, wait_s = False, _REFUSED_S
                if isinstance(error, Unsupported):
                    self.refused.add(index.source)
                if not index.tried.is_set():
                    log.warning(
                        "NATS does not keep the index of %s, so clients of quiet channels may be told of losses that "
                        "did not happen: %s",
                        index.source,
                        error,
                    )
            except NatsAway as error:
                log.debug("the index of %s waits: %s", index.source, error)
                wait_s = _RETRY_S
            if wait_s != _RETRY_S:
                index.tried.set()
            await asyncio.sleep(wait_s)

    async def _make(self, index: _Index) -> None:
        prefix = index.address.prefix
        # The stream of another namespace whose name begins with this one and "_" has another "_" in the rest.
        there = [name for name in await stream_names(self._link, prefix) if "_" not in name.removeprefix(prefix)]
        name = index.address.stream
        for other in there:
            if other != name:  # an index of an epoch that is void
                await unfollow(self._link, other, index.source)
        if index.behind > 1 and name in there:  # it was set up again, and is still behind
            await unfollow(self._link, name, index.source)
            there.remove(name)
        if name not in there:
            await forget_source(self._link, name, index.source)
        begun, index.kept = await follow(
            self._link,
            name,
            index.source,
            index.address.delivery,
            max_msgs_per_subject=index.size,
            max_age_s=index.max_age_s,
            max_bytes=index.max_bytes,
            replicas=index.replicas,
        )
        last_break = await last_followed(self._link, name, index.break_subject)
        if begun or last_break is None or header(last_break.headers, _LEADER) != index.leader.encode():
            await self._note(index, index.break_subject)
        daily = f"{index.address.daily}{int(time.time()) // _DAY_S}"  # if clocks of edges differ, one more is stored
        if await last_followed(self._link, name, daily) is None:
            await self._note(index, daily)

    async def _note(self, index: _Index, subject: str) -> None:
        """Stores a message in the log, and waits until the index has read it, and therefore everything before it."""
        try:
            noted = await store(self._link, subject, b"", header_block(Fairlead_Leader=index.leader))
        except NatsRefused as error:  # the log is full, and refuses new messages
            log.debug("%s does not take a message for its index: %s", index.source, error)
            return
        await self._caught_up(index, noted.sequence)

    async def after(
        self, where: subjects.LogAddress, epoch: str, offset: int, upto: int, named_upto: int = 0, first: int = 0
    ) -> Indexed | None:
        """See `LogIndex.after`. Raises `NatsAway`."""
        index = self._indexes.get(where.stream)
        if index is None or index.epoch != epoch or not await self._is_usable(index):
            return None
        try:
            return await self._after(index, where, offset, upto, named_upto, first)
        except NobodyAnswers:  # the index was deleted: it is made again from what the log still holds
            self._make_again(index)
            raise
        except NatsAway as error:  # the log may answer nevertheless: perhaps it is on another server of a cluster
            log.debug("the index of %s does not answer: %s", where.stream, error)
            return None

    def _make_again(self, index: _Index) -> None:
        if self._indexes.get(index.source) is index and index.tried.is_set():
            if index.tending is not None:
                index.tending.cancel()
            self._begin(replace(index, tried=asyncio.Event(), usable=False))

    async def newer(self, stream: str, epoch: str, positions: list[tuple[str, int]], upto: int) -> set[str]:
        """Returns the subjects of a log that may have had an entry after their position.

        `positions` are at most `MULTI_LAST_SUBJECTS` subjects, each with its position. Returns all of them if the index
        cannot tell.
        """
        index, asked = self._indexes.get(stream), {subject for subject, _ in positions}
        if index is None or index.epoch != epoch or not await self._is_usable(index):
            return set() if stream in self.refused else asked
        try:
            return await self._newer(index, positions, upto)
        except NatsAway as error:
            log.debug("the index of %s does not answer: %s", stream, error)
            self._make_again(index)
            return asked

    async def _newer(self, index: _Index, positions: list[tuple[str, int]], upto: int) -> set[str]:
        newest = await self._caught_up(index, upto)
        if newest is None:
            return {subject for subject, _ in positions}
        places = {subject: max(0, offset - newest.skipped) for subject, offset in positions}
        last = await read_last_of(self._link, index.address.stream, list(places), min(places.values()))
        return {subject for subject, number in last.sequences.items() if number > places[subject]}

    async def _after(
        self, index: _Index, where: subjects.LogAddress, offset: int, upto: int, named_upto: int, first: int
    ) -> Indexed | None:
        name = index.address.stream
        newest = await self._caught_up(index, upto)
        if newest is None:
            return None
        # If nothing was skipped since, this is the place of the position in the index; otherwise the place is later.
        place = max(1, offset - newest.skipped)
        before: Followed | None = None
        after: list[Followed] = []
        while True:
            entries, left = await self._page(name, where.stored, place, _NAMED if named_upto > offset else _READ)
            later = [entry for entry in entries if entry.sequence > offset]
            before = entries[-len(later) - 1] if len(later) < len(entries) else before
            after += later
            if not left or (after and after[-1].sequence >= named_upto):
                break
            true_ones = (entry for entry in after if not 0 < removed_upto(entry.headers) <= offset)
            if any(not first or entry.sequence < first for entry in islice(true_ones, 1)):
                break  # the log lacks this entry: no other name is needed
            place = entries[-1].number + 1
        total = len(after) + left
        if before is None:
            oldest, _ = await read_followed(self._link, name, 1)
            if not oldest or not self._reaches(index, oldest[0], newest, offset):
                return None
            before = oldest[0]
        marks = [entry for entry in after if 0 < removed_upto(entry.headers) <= offset]
        named = [entry for entry in after if entry not in marks]
        return Indexed(
            named[0].sequence if named else 0,
            total - len(marks),
            newest.sequence,
            whole=before.skipped == newest.skipped and total < index.kept,
            unbroken_since=await self._unbroken_since(index) if before.skipped != newest.skipped else 0,
            named=frozenset(entry.sequence for entry in named if entry.sequence <= named_upto),
        )

    async def _page(self, name: str, subject: str, place: int, limit: int) -> tuple[list[Followed], int]:
        if limit == _READ:
            return await read_followed(self._link, name, limit, subject, place)
        async with self._naming:
            return await read_followed(self._link, name, limit, subject, place, READ_BYTES)

    async def _unbroken_since(self, index: _Index) -> int:
        last_break = await last_followed(self._link, index.address.stream, index.break_subject)
        return sys.maxsize if last_break is None else last_break.sequence

    @staticmethod
    def _reaches(index: _Index, oldest: Followed, newest: Followed, offset: int) -> bool:
        """Whether the index reaches back to a position: to its sequence or, for the beginning of a log, as far back as
        an index may."""
        if oldest.sequence <= offset + 1:
            return True
        days_off = 2 * _DAY_S  # a message a day
        return not offset and 0 < index.max_age_s - days_off <= span_s(oldest.at, newest.at)

    @staticmethod
    async def _is_usable(index: _Index) -> bool:
        if not index.tried.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(index.tried.wait(), _MAKING_S)
        return index.usable

    async def _caught_up(self, index: _Index, upto: int) -> Followed | None:
        """Waits until the index has read the log up to `upto`. Returns its newest message; None if it does not catch
        up."""
        wait_s = _FIRST_WAIT_S
        while True:
            newest = await last_followed(self._link, index.address.stream)
            if newest is not None and newest.sequence >= upto:
                index.behind = 0
                return newest
            if wait_s > _CATCHING_UP_S:
                log.warning("the index of %s has not read its log up to %d", index.source, upto)
                index.behind += 1
                self._make_again(index)
                return None
            await asyncio.sleep(wait_s)
            wait_s *= 2


def span_s(first: str, last: str) -> float:
    """The seconds between two of NATS's timestamps; 0 if one is malformed."""
    try:
        return (datetime.fromisoformat(last[:19]) - datetime.fromisoformat(first[:19])).total_seconds()
    except ValueError:
        return 0.0
