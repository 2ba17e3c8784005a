"""The history of a channel: reading pages of it, and removing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proto import codes
from proto.messages import Publication, StreamPosition
from services.edge.broker.broker import MAX_DUPLICATE_WINDOW_S, Broker
from services.edge.channels.channel_registry import ChannelRegistry
from services.edge.channels.log_pages import ANY_SIZE, page_before, page_from
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.sync import ChannelSync
from services.edge.rejection import Rejected

_END_OF_LOGS: Final = 2**63 - 1
"""No log gets this far. NATS cannot be asked for entries after the largest offset that a client can send."""

_SLACK_S: Final = 5.0
"""A publish takes 4 s at most, and clocks differ a little: a key counts as forgotten this much earlier."""

_UNKNOWN: Final = "it may have been published before, longer ago than keys are remembered"


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Publications in the requested order, and the top of the history."""

    publications: list[Publication]
    top: StreamPosition


class ChannelHistory:
    """Reads and removes the histories of channels. `rules` are the rules of the channel, which must have history."""

    def __init__(self, broker: Broker, channels: ChannelRegistry, sync: ChannelSync) -> None:
        self._broker = broker
        self._channels = channels
        self._sync = sync

    async def read(
        self,
        name: str,
        rules: ChannelRules,
        limit: int,
        since: StreamPosition | None,
        reverse: bool,
        room: int = ANY_SIZE,
    ) -> HistoryPage:
        """Up to `limit` publications strictly after `since` (before it, if `reverse`). Raises `BrokerAway`.

        Stops reading once they take `room` bytes. With `limit` 0, returns only the top. Raises `Rejected` (112) if
        `since` is of another epoch.
        """
        with self._channels.using(name, rules) as channel:
            await self._sync.opened(channel)
            assert channel.log is not None
            top = StreamPosition(channel.log.last, channel.log.epoch)
            if since is not None and since.epoch and since.epoch != top.epoch:
                since = self._broker.continued(channel.address, since)
            if since is not None and since.epoch and since.epoch != top.epoch:
                raise Rejected(codes.UNRECOVERABLE_POSITION)
            if not limit:
                return HistoryPage([], top)
            if reverse:
                newest = await self._broker.newest(channel.address)  # an entry stored just now may not have come yet
                if newest is None:
                    return HistoryPage([], top)
                top = StreamPosition(max(top.offset, newest.sequence), top.epoch)
                before = min(since.offset, top.offset + 1) if since else top.offset + 1
                return HistoryPage(await page_before(self._broker, channel.address, before, limit, room), top)
            if since is not None and since.offset >= _END_OF_LOGS:
                return HistoryPage([], top)
            page = await page_from(self._broker, channel.address, since.offset + 1 if since else 1, limit, room)
            if page and page[-1].offset >= top.offset:  # an entry stored just now has not come live yet
                newest = await self._broker.newest(channel.address)
                at_least = page[-1].offset if newest is None else max(page[-1].offset, newest.sequence)
                top = StreamPosition(at_least, top.epoch)
            return HistoryPage(page, top)

    async def find_key(
        self, name: str, rules: ChannelRules, message_id: str, age_s: float, skips_history: bool = False
    ) -> StreamPosition | None:
        """The position of a publication that may have been published with this id, at most `age_s` seconds ago.

        None if it was not published, or if the broker still remembers ids of that age, and so finds out itself at the
        publish. The rules may be those of a channel without history. Raises `BrokerAway`, and `Rejected` (112) if the
        answer cannot be known.
        """
        kept = rules.has_history and not skips_history
        options, age_s = rules.options, age_s + _SLACK_S
        if age_s <= (min(MAX_DUPLICATE_WINDOW_S, options.history_ttl) if kept else MAX_DUPLICATE_WINDOW_S):
            return None
        if not kept:
            raise Rejected(codes.UNRECOVERABLE_POSITION, f"{_UNKNOWN}, and such publications are not stored")
        found = await self._broker.index.search(rules.address(name), message_id, self._broker.now() - age_s)
        if found.position is not None:
            return found.position
        if age_s > options.history_ttl or found.held >= options.history_size or found.removed:
            raise Rejected(codes.UNRECOVERABLE_POSITION, f"{_UNKNOWN}, and the history does not reach back to then")
        if not found.unbroken and options.history_when_full != "refuse":
            raise Rejected(codes.UNRECOVERABLE_POSITION, f"{_UNKNOWN}, and history was evicted for lack of room since")
        return None

    async def remove(self, name: str, rules: ChannelRules) -> None:
        """Removes the history of a channel. Raises `BrokerAway`, `BrokerRefused`."""
        await self._broker.remove_history(rules.address(name))
