"""Where this edge's clients meet the cluster: subscribe with recovery, unsubscribe, publish, history."""

from __future__ import annotations

from dataclasses import dataclass

from proto import codes
from proto.codes import ErrorCode
from proto.messages import Publication, StreamPosition, SubscribeResult
from services.edge.actions import Subscribe
from services.edge.broker import Broker, BrokerAway, ChannelAddress
from services.edge.channel import Channel, Subscriber
from services.edge.channel_log import ChannelLog
from services.edge.namespaces import Rules
from services.edge.open_channels import OpenChannels
from services.edge.recovery import READ_BATCH, Missed, recover
from services.edge.tally import Tally


@dataclass(frozen=True, slots=True)
class History:
    """A page of a channel's history, and its top."""

    publications: list[Publication]
    top: StreamPosition


class Node:
    """See the module. `recovery_limit`: missed publications that are recovered at most, 0 for no limit."""

    def __init__(self, broker: Broker, tally: Tally, recovery_limit: int = 0) -> None:
        self._broker = broker
        self._tally = tally
        self._recovery_limit = recovery_limit
        self.channels = OpenChannels(broker, tally)

    @property
    def available(self) -> bool:
        """Whether the broker is there."""
        return self._broker.available

    async def subscribe(self, subscriber: Subscriber, wish: Subscribe) -> SubscribeResult | ErrorCode:
        """Attaches a subscriber, caught up to the channel's log.

        When this returns a result the subscriber is attached and nothing has been pushed to it: the caller must send
        the reply before it awaits anything. Raises `BrokerAway`.
        """
        with self.channels.using(wish.channel, wish.rules) as channel:
            await self.channels.opened(channel)
            if channel.log is None:
                self._attach(channel, subscriber, positioned=False)
                return SubscribeResult()
            if wish.recover is None:
                self._attach(channel, subscriber, wish.positioned)
                return _position_result(wish, channel.log)
            missed = await recover(self._broker, self.channels, channel, wish.recover, self._recovery_limit)
            # No await from here to the caller's reply: the subscriber is caught up exactly to log.last.
            if missed is None:
                self._tally.unrecovered += 1
                if wish.reject_unrecovered:
                    return codes.UNRECOVERABLE_POSITION
            else:
                self._tally.recovered += 1
                self._tally.recovered_publications += len(missed)
            self._attach(channel, subscriber, wish.positioned)
            return _recovery_result(wish, channel.log, missed)

    def _attach(self, channel: Channel, subscriber: Subscriber, positioned: bool) -> None:
        if channel.closed:  # its log was made anew meanwhile: the client asks again, and is told
            raise BrokerAway("the channel was closed")
        channel.subscribers[subscriber] = positioned
        channel.users += 1

    def unsubscribe(self, subscriber: Subscriber, name: str) -> None:
        """Detaches a subscriber: nothing of this channel is pushed to it any more. Unknown ones are fine."""
        channel = self.channels.get(name)
        if channel is not None and subscriber in channel.subscribers:
            del channel.subscribers[subscriber]
            self.channels.release(channel)

    def position(self, name: str) -> StreamPosition | None:
        """How far the subscribers of an open channel have come, None for a channel without history."""
        channel = self.channels.get(name)
        if channel is None or channel.log is None:
            return None
        return StreamPosition(channel.log.last, channel.log.epoch)

    async def missed(self, name: str, since: StreamPosition) -> tuple[Channel, Missed] | None:
        """What a subscriber that stalled at `since` has to be given now; None when the channel is gone.

        As with `subscribe`, it is exact only until the next await. Raises `BrokerAway`.
        """
        channel = self.channels.get(name)
        if channel is None or channel.log is None:
            return None
        return channel, await recover(self._broker, self.channels, channel, since, limit=0)

    async def publish(
        self, name: str, rules: Rules, publication: Publication, message_id: str = ""
    ) -> StreamPosition | None:
        """Publishes; with history, returns once it is stored. Raises `BrokerAway`, `BrokerRefused`."""
        address = ChannelAddress(name, rules.history_class if rules.has_history else "")
        position = await self._broker.publish(address, publication, message_id)
        self._tally.publishes += 1
        return position

    async def history(
        self, name: str, rules: Rules, limit: int, since: StreamPosition | None, reverse: bool
    ) -> History | ErrorCode:
        """Up to `limit` publications strictly after `since` (before it, when `reverse`). Raises `BrokerAway`."""
        with self.channels.using(name, rules) as channel:
            await self.channels.opened(channel)
            assert channel.log is not None
            top = StreamPosition(channel.log.last, channel.log.epoch)
            if since is not None and since.epoch and since.epoch != top.epoch:
                return codes.UNRECOVERABLE_POSITION
            if not limit:
                return History([], top)
            if not reverse:
                return History(await self._page(channel, since.offset + 1 if since else 1, limit), top)
            everything = await self._page(channel, 1, rules.options.history_size)
            before = [p for p in everything if since is None or p.offset < since.offset]
            return History(before[::-1][:limit], top)

    async def _page(self, channel: Channel, from_offset: int, limit: int) -> list[Publication]:
        found: list[Publication] = []
        while len(found) < limit:
            stretch = await self._broker.read(channel.address, from_offset, min(limit - len(found), READ_BATCH))
            found.extend(entry.publication for entry in stretch.entries if entry.publication is not None)
            if not stretch.more or not stretch.entries:
                break
            from_offset = stretch.entries[-1].sequence + 1
        return found


def _position_result(wish: Subscribe, channel_log: ChannelLog) -> SubscribeResult:
    if not wish.positioned:
        return SubscribeResult()
    return SubscribeResult(
        recoverable=wish.recoverable, positioned=True, epoch=channel_log.epoch, offset=channel_log.last
    )


def _recovery_result(wish: Subscribe, channel_log: ChannelLog, missed: Missed) -> SubscribeResult:
    assert wish.recover is not None
    return SubscribeResult(
        recoverable=True,
        positioned=True,
        epoch=channel_log.epoch,
        # On success SDKs expect their own offset back and advance it with each publication that they hand on.
        offset=channel_log.last if missed is None else wish.recover.offset,
        was_recovering=True,
        recovered=missed is not None,
        publications=missed or [],
    )
