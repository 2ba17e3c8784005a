"""The open channels of this edge by name: who uses them, and when they are closed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from services.edge.broker.broker import Broker, BrokerAway
from services.edge.channels.channel import Channel
from services.edge.channels.channel_log import Rings
from services.edge.channels.delivery_times import DeliveryTimes
from services.edge.channels.member_tracker import MemberTracker
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.turns_pace import TurnsPace

LINGER_S: Final = 15.0
"""Seconds for which a channel without users stays open: clients that reconnect meanwhile recover from its ring."""


class ChannelRegistry:
    """All open channels. `len` is their number, iteration goes over a copy.

    `pace` is shared by their fan-outs; `rings` counts what their rings hold together.
    """

    def __init__(self, broker: Broker, member_tracker: MemberTracker) -> None:
        self._broker = broker
        self._member_tracker = member_tracker
        self._by_name: dict[str, Channel] = {}
        self._idle: OrderedDict[Channel, None] = OrderedDict()  # channels without users, the longest idle first
        self.pace = TurnsPace()
        self.rings = Rings()
        self.delivery_times = DeliveryTimes(broker.now)
        self.get: Callable[[str], Channel | None] = self._by_name.get
        """The open channel of this name. The dict's own method, as every live message and subscribe calls it."""

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Channel]:
        return iter(tuple(self._by_name.values()))

    @contextmanager
    def using(self, name: str, rules: ChannelRules) -> Iterator[Channel]:
        """The channel, which is kept open during the block. It may not be ready yet: see `ChannelSync.opened`.

        Raises `BrokerAway` for a channel that was opened before the history of its namespace was switched on or off:
        it is about to be closed (`ChannelSync.retire`).
        """
        channel = self._by_name.get(name)
        if channel is not None and not channel.fits(rules):
            raise BrokerAway("the channel is about to be opened with other rules")
        if channel is None:
            deliveries = self.delivery_times.of(rules.namespace)
            channel = self._by_name[name] = Channel(name, rules, self.pace, deliveries, self.rings)
        self.hold(channel)
        try:
            yield channel
        finally:
            self.release(channel)

    def hold(self, channel: Channel) -> None:
        """The channel has one more user, and stays open for it."""
        channel.users += 1
        if channel.users == 1:
            self._idle.pop(channel, None)

    def release(self, channel: Channel) -> None:
        """The channel has one user fewer."""
        channel.users -= 1
        if not channel.users and not channel.closed:
            channel.idle_since = asyncio.get_running_loop().time()
            self._idle[channel] = None

    def sweep(self) -> None:
        """Closes the channels that have had no users for `LINGER_S`. Called a few times a second."""
        long_ago = asyncio.get_running_loop().time() - LINGER_S
        while self._idle and (longest := next(iter(self._idle))).idle_since < long_ago:
            self.close(longest)

    def close(self, channel: Channel) -> None:
        """Ends the channel's live messages and forgets it. The next use of its name opens a new channel."""
        channel.closed = True
        self._idle.pop(channel, None)
        if channel.log is not None:
            channel.log.close()
        if self._by_name.get(channel.name) is channel:
            del self._by_name[channel.name]
            self._broker.close(channel.address)
        self._member_tracker.close(channel)
        if channel.sync_task is not None and channel.sync_task is not asyncio.current_task():
            channel.sync_task.cancel()
