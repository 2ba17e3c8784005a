"""The channels that this edge has open: opening and closing them, live messages, sync, audit.

Ownership: channels and their logs are changed only here, in the event loop, and every change is one synchronous step.
What must be awaited is awaited before, and what was true before an await is looked at again after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from proto import codes
from proto.messages import Publication
from proto.publications import LiveMessage
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import Broker, BrokerAway, BrokerRefused, ChannelAddress
from services.edge.channels.channel import Channel
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.member_tracker import MemberTracker
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.recovery import read_after
from services.edge.tally import Tally
from services.edge.yielding import yielding_every

log = logging.getLogger(__name__)

LINGER_S: Final = 15.0
"""A channel without users stays open this long: clients of a dropped network come back, and find its ring."""

UNNOTICED_S: Final = 10.0
"""How long a broker that hangs can pass for a connected one: the link's pings find out after three of 3 s."""

SYNCS_AT_ONCE: Final = 64
"""Reads of the log under way for syncs. After a loss of the connection every channel may need one."""

_SYNC_RETRY_S: Final = 0.2
_STUCK_ROUNDS: Final = 3
"""Syncs that find a gap but nothing in the log to fill it. After so many it is clear that it was removed there."""


class OpenChannels:
    """See the module. The broker's events come in here."""

    def __init__(self, broker: Broker, tally: Tally, member_tracker: MemberTracker) -> None:
        self._broker = broker
        self._tally = tally
        self._member_tracker = member_tracker
        self._tasks = Tasks()
        self._by_name: dict[str, Channel] = {}
        self._lost_at: float | None = None
        self._syncs = asyncio.Semaphore(SYNCS_AT_ONCE)
        self._is_open: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Channel]:
        return iter(tuple(self._by_name.values()))

    def get(self, name: str) -> Channel | None:
        return self._by_name.get(name)

    # --- opening and closing -----------------------------------------------------------------------------------------

    @contextmanager
    def using(self, name: str, rules: ChannelRules) -> Iterator[Channel]:
        """The channel, which stays open for the length of the block. It may not be live yet: see `opened`."""
        channel = self._by_name.get(name)
        if channel is None:
            channel = self._by_name[name] = Channel(name, rules)
        channel.users += 1
        try:
            yield channel
        finally:
            self.release(channel)

    def release(self, channel: Channel) -> None:
        """One user less."""
        channel.users -= 1
        if not channel.users:
            channel.idle_since = asyncio.get_running_loop().time()

    def sweep(self) -> None:
        """Closes channels that nobody has used for a while. Called every turn of the wheel."""
        long_ago = asyncio.get_running_loop().time() - LINGER_S
        for channel in [c for c in self._by_name.values() if not c.users and c.idle_since < long_ago]:
            self._close(channel)

    def _close(self, channel: Channel) -> None:
        channel.closed = True
        if self._by_name.get(channel.name) is channel:
            del self._by_name[channel.name]
            self._broker.close(channel.address)
        self._member_tracker.close(channel)
        if channel.sync_task is not None and channel.sync_task is not asyncio.current_task():
            channel.sync_task.cancel()

    async def opened(self, channel: Channel) -> None:
        """Waits until the channel is live and its position known. Raises `BrokerAway` when that fails."""
        if channel.opened is None:
            channel.opened = asyncio.get_running_loop().create_future()
            self._tasks.start(self._open(channel, channel.opened))
        await asyncio.shield(channel.opened)

    async def _open(self, channel: Channel, opened: asyncio.Future[None]) -> None:
        try:
            if not self._broker.available:
                raise BrokerAway("the broker is away")
            await self._broker.open(channel.address)
            if channel.log is not None:
                await self._locate(channel, channel.log)
            opened.set_result(None)
            # Done is done: one future serves all channels that are open.
            channel.opened = self._is_open = self._is_open or opened
        except BaseException as error:
            if not channel.closed:  # otherwise the address may be a newer channel's already
                self._broker.close(channel.address)
            channel.opened = None  # the next one who wants it tries again
            if not isinstance(error, (BrokerAway, asyncio.CancelledError)):
                log.exception("a channel could not be opened")
            opened.set_exception(BrokerAway(f"the channel could not be opened: {error}"))
            opened.exception()  # marks it as seen, for the case that whoever wanted it has left
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _locate(self, channel: Channel, channel_log: ChannelLog) -> None:
        """Finds where the log stands. Live messages are on already: whatever comes meanwhile is in the buffer."""
        newest = await self._broker.newest(channel.address)
        if newest is not None:
            channel_log.start(self._broker.epoch(channel.address), newest.sequence)
        else:  # nothing retained: any sequence that the stream has reached is a true position of this channel
            state = await self._broker.state(channel.address)
            channel_log.start(state.epoch, state.last)
        self._drain(channel, channel_log)
        if channel_log.gap:
            self._begin_sync(channel, channel_log)
        else:
            channel_log.end_sync()

    # --- live messages -----------------------------------------------------------------------------------------------

    def live(self, channel: str, message: LiveMessage) -> None:
        """A live message of a channel with history (broker event)."""
        found = self._by_name.get(channel)
        if found is None or found.log is None:
            return
        if not message.sequence:
            if message.publication is not None:  # it skips the history, and has no place in it
                found.fan_out(message.publication)
                found.subscribers.forget_bases()
            return
        if self._lost_at is not None and not found.log.syncing:
            # The connection is back and the streams are being looked at. What was missed may have expired, which this
            # message would not tell of: a sync asks for proof.
            self._begin_sync(found, found.log)
        if found.log.accept(message):
            self._deliver(found, found.log, message.sequence, message.publication, message.removed_upto)
        elif found.log.needs_sync:
            self._tally.gaps += 1
            self._begin_sync(found, found.log)

    def ephemeral(self, channel: str, publication: Publication) -> None:
        """A publication of a channel without history (broker event)."""
        found = self._by_name.get(channel)
        if found is not None:
            found.fan_out(publication)

    def _deliver(
        self, channel: Channel, channel_log: ChannelLog, seq: int, publication: Publication | None, removed_upto: int
    ) -> None:
        previous = channel_log.newest
        # The log moves on before the fan-out: a client that stalls in it is behind by what comes after this one.
        if channel_log.admit(seq, publication) and publication is not None:
            channel.fan_out(publication, previous)
        if removed_upto:
            channel_log.remove(removed_upto)

    # --- sync --------------------------------------------------------------------------------------------------------

    async def synced(self, channel: Channel) -> None:
        """Waits until the channel has come to the end of its log, as it is after the call."""
        assert channel.log is not None
        if channel.sync_task is not None and not channel.sync_task.done():
            await asyncio.wait([channel.sync_task])  # it may have read past the end before
        if not channel.closed:
            await asyncio.wait([self._begin_sync(channel, channel.log)])

    def _begin_sync(self, channel: Channel, channel_log: ChannelLog) -> asyncio.Task[None]:
        if channel.sync_task is None or channel.sync_task.done():
            channel_log.begin_sync()
            channel.sync_task = self._tasks.start(self._sync(channel, channel_log))
        return channel.sync_task

    async def _sync(self, channel: Channel, channel_log: ChannelLog) -> None:
        """Until the log is whole again; while the broker is away this waits for it."""
        stuck = 0
        self._tally.syncs += 1
        while True:
            try:
                async with self._syncs:
                    read = await read_after(self._broker, channel, channel_log.epoch, channel_log.last)
            except (BrokerAway, BrokerRefused) as error:
                log.debug("a sync waits: %s", error)
                await asyncio.sleep(_SYNC_RETRY_S)
                continue
            if read.other_epoch:
                self._invalidate(channel)
                return
            if not read.whole:
                self._tell_of_hole(channel)
                channel_log.skip_to(read.lost_upto)
            for entry in read.entries:
                self._deliver(channel, channel_log, entry.sequence, entry.publication, entry.removed_upto)
            if not read.whole:
                continue  # behind the hole, until nothing is missing up to the log's end
            stuck = 0 if read.entries else stuck + 1
            self._drain(channel, channel_log, regardless=stuck >= _STUCK_ROUNDS)
            if not channel_log.gap:
                channel_log.end_sync()
                return
            channel_log.begin_sync()

    def _drain(self, channel: Channel, channel_log: ChannelLog, regardless: bool = False) -> None:
        while (message := channel_log.next_buffered(regardless)) is not None:
            self._deliver(channel, channel_log, message.sequence, message.publication, message.removed_upto)

    def _tell_of_hole(self, channel: Channel) -> None:
        """Publications were evicted before this edge read them: who relies on positions is sent back to recover."""
        self._tally.holes += 1
        channel.subscribers.forget_bases()
        for subscriber, subscription in channel.subscribers:
            if subscription.positioned:
                subscriber.end_subscription(channel.name, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)

    # --- the broker's coming and going -------------------------------------------------------------------------------

    def broker_disconnected(self) -> None:
        """Broker event. Clients stay, and what they miss is fetched when the broker is back."""
        self._tally.broker_losses += 1
        self._lost_at = self._lost_at or asyncio.get_running_loop().time()

    def broker_connected(self) -> None:
        """Broker event: live messages may have been missed, so audit at once.

        The audit compares with what the log still holds. Where a publication may have come and expired while the
        broker was away it could find nothing: there a sync asks for proof that nothing was missed.
        """
        unproven: list[Channel] = []
        if self._lost_at is not None:
            away_s = asyncio.get_running_loop().time() - self._lost_at + UNNOTICED_S
            self._lost_at = None
            for channel in self._by_name.values():
                could_expire = channel.rules.options.history_ttl <= away_s
                if could_expire and channel.log is not None and not channel.log.syncing:
                    channel.log.begin_sync()  # live messages wait from now on; the sync itself comes in its turn
                    unproven.append(channel)
        self._member_tracker.broker_connected()
        self._tasks.start(self._catch_up(unproven))

    async def _catch_up(self, unproven: list[Channel]) -> None:
        async for channel in yielding_every(unproven):
            if channel.log is not None and not channel.closed:
                self._begin_sync(channel, channel.log)
        try:
            await self.audit()
        except (BrokerAway, BrokerRefused) as error:
            log.info("the audit of the open channels did not finish, the next one will: %s", error)

    async def audit(self) -> None:
        """Finds open channels whose log went on unnoticed, and brings them up to date. Raises `BrokerAway`."""
        positions: dict[ChannelAddress, int] = {}
        async for channel in yielding_every(tuple(self._by_name.values())):
            if channel.closed or channel.log is None or channel.log.syncing:  # a sync finds out by itself
                continue
            if channel.log.epoch != self._broker.epoch(channel.address):
                self._invalidate(channel)
            else:
                positions[channel.address] = channel.log.last
        behind = await self._broker.behind(positions) if positions else {}
        async for address, newest in yielding_every(behind.items()):
            found = self._by_name.get(address.channel)
            if found is None or found.log is None or found.log.syncing:
                continue
            if found.log.epoch != self._broker.epoch(address):
                self._invalidate(found)
            elif found.log.last < newest:  # otherwise it has come along since
                self._tally.gaps += 1
                self._begin_sync(found, found.log)

    def _invalidate(self, channel: Channel) -> None:
        """The log is another one now, and positions mean nothing: subscribers are sent back to subscribe anew."""
        log.warning("a channel's log has a new epoch: its %d subscribers start again", len(channel.subscribers))
        for subscriber, _ in channel.subscribers:
            subscriber.end_subscription(channel.name, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        self._close(channel)

    # --- tasks -------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Ends what is under way."""
        await self._tasks.stop()
