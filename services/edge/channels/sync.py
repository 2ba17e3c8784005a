"""Keeps open channels at the end of their logs: opening, live messages, sync, audit.

Ownership: channels and their logs are changed only here, in the event loop, and every change is one synchronous step.
Whatever has to be awaited is awaited before, and what was true before an await is checked again after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from proto import codes
from proto.codes import UnsubscribeCode
from proto.messages import Publication
from proto.publications import LiveMessage
from proto.trace_context import TraceContext
from services.chassis.process.log import Throttle
from services.chassis.process.log_fields import about
from services.chassis.process.tasks import Tasks
from services.chassis.tracing.span import Tracer
from services.edge.broker.broker import Audit, Broker, BrokerAway, BrokerRefused, ChannelAddress, LogEntry
from services.edge.channels.channel import Channel
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.channel_registry import ChannelRegistry
from services.edge.channels.delivery import Delivery, deliver
from services.edge.channels.member_tracker import MemberTracker
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.recovery import read_after
from services.edge.channels.shared_task import shared
from services.edge.tally import Tally
from services.edge.yielding import yielding_every

log = logging.getLogger(__name__)

SYNCS_AT_ONCE: Final = 64
"""Reads of the log in progress for syncs. After a loss of the connection every channel may need one."""

_SYNC_RETRY_S: Final = 0.2
_AUDIT_RETRY_S: Final = 5.0
"""The longest wait before an incomplete audit is repeated, unless a broker event says that a stream answers again."""
_STUCK_ROUNDS: Final = 3
"""After this many rounds that find a gap but nothing in the log to fill it, a sync takes it that this was removed."""


class ChannelSync:
    """Opens channels, takes the broker's events (`BrokerEvents`), and reads from the log what live messages missed."""

    def __init__(
        self,
        broker: Broker,
        tally: Tally,
        channels: ChannelRegistry,
        member_tracker: MemberTracker,
        tracer: Tracer | None = None,
    ) -> None:
        self._broker = broker
        self._tally = tally
        self._channels = channels
        self._member_tracker = member_tracker
        self._tracer = tracer
        self._tasks = Tasks()
        self._doubts = 0  # how often live messages may have been missed
        self._lost = False  # from when they may have been, until an audit has covered every channel
        self._unknown: frozenset[ChannelAddress] | None = None  # channels that it has not covered yet; None: all
        self._held: list[Channel] = []  # channels with live messages that wait for the audit
        self._auditing = asyncio.Lock()
        self._syncs = asyncio.Semaphore(SYNCS_AT_ONCE)
        self._drops = Throttle()

    # --- opening -----------------------------------------------------------------------------------------------------

    async def opened(self, channel: Channel) -> None:
        """Waits until the channel is ready: it gets live messages, and its position is known.

        Raises `BrokerAway` if that fails; the next call tries again.
        """
        if not channel.ready:
            if channel.open_task is None:
                channel.open_task = self._tasks.start(self._open(channel))
            await shared(channel.open_task)

    async def _open(self, channel: Channel) -> str:
        """Returns the error, "" if it succeeded."""
        try:
            if not self._broker.available:
                raise BrokerAway("the broker is away")
            await self._broker.open(channel.address)
            if channel.log is not None:
                await self._locate(channel, channel.log)
            channel.ready = True
            return ""
        except BrokerAway as error:
            why = str(error)
        except Exception as error:
            log.exception("a channel could not be opened", extra=about(channel=channel.name))
            why = str(error)
        finally:
            channel.open_task = None
            if not channel.ready and not channel.closed:  # after a close, a newer channel may have this address already
                self._broker.close(channel.address)
        return f"the channel could not be opened: {why}"

    async def _locate(self, channel: Channel, channel_log: ChannelLog) -> None:
        """Finds the position of the log. Live messages are on already: those that come meanwhile are buffered."""
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
        found = self._channels.get(channel)
        if found is None or found.log is None:
            return
        if not message.sequence:
            if message.publication is not None:  # it was published past the log
                self.ephemeral(channel, message.publication, message.published_at, message.trace)
                found.subscribers.forget_bases()
            return
        if found.subscribers.congested and not found.log.syncing:
            # Publications come faster than they are written to the subscribers here. The log keeps them: reading
            # continues once there is room again.
            self._begin_sync(found, found.log)
        if self._lost and not found.log.syncing and self._in_doubt(found):
            # The link is connected again, and the audit has not covered this channel yet. Missed publications may have
            # expired, which this message would not reveal.
            found.log.begin_sync()
            self._held.append(found)
        if found.log.accept(message):
            now = asyncio.get_running_loop().time()
            self._deliver(found, found.log, message, now)
        elif found.log.needs_sync:
            self._tally.gaps[found.rules.namespace] += 1
            self._begin_sync(found, found.log)

    def ephemeral(
        self, channel: str, publication: Publication, published_at: float = 0.0, trace: TraceContext | None = None
    ) -> None:
        """A publication of a channel without history (broker event)."""
        found = self._channels.get(channel)
        if found is None:
            return
        if not found.subscribers.congested:
            delivery = None if trace is None else self._traced(found, publication, published_at, trace)
            found.fan_out(publication, None, published_at, delivery)
            return
        self._tally.fan_out_dropped += 1
        held = self._drops.allows(asyncio.get_running_loop().time())
        if held is not None:
            log.warning(
                "a channel gets more publications than this edge can write to its %d subscribers here; "
                "dropped one (%d more like this before)",
                len(found.subscribers),
                held,
                extra=about(channel=channel),
            )

    def _deliver(
        self, channel: Channel, channel_log: ChannelLog, entry: LiveMessage | LogEntry, at: float | None = None
    ) -> None:
        """Moves the log on by an entry that came live at `at`, or was read, and hands it to the fan-out."""
        publication, previous = entry.publication, channel_log.newest
        # The log moves on before the fan-out: a client that stalls during it is behind by what comes after this entry.
        if channel_log.admit(entry.sequence, publication, at) and publication is not None:
            published_at, trace = entry.published_at, entry.trace
            delivery = None if trace is None else self._traced(channel, publication, published_at, trace)
            channel.fan_out(publication, previous, published_at, delivery)
        if entry.removed_upto:
            channel_log.remove(entry.removed_upto)

    def _traced(
        self, channel: Channel, publication: Publication, published_at: float, trace: TraceContext
    ) -> Delivery | None:
        if self._tracer is None or not channel.subscribers:
            return None
        return deliver(self._tracer, trace, channel.name, publication, published_at)

    # --- sync --------------------------------------------------------------------------------------------------------

    async def synced(self, channel: Channel) -> None:
        """Waits until the channel has reached the end of its log, as the log is after the call."""
        assert channel.log is not None
        if channel.sync_task is not None and _syncs(channel):
            await asyncio.wait([channel.sync_task])  # it may have read the log's end before the call
        if not channel.closed:
            await asyncio.wait([self._begin_sync(channel, channel.log)])

    def _begin_sync(self, channel: Channel, channel_log: ChannelLog) -> asyncio.Task[None]:
        if channel.sync_task is None or channel.sync_task.done():
            channel_log.begin_sync()
            channel.sync_task = self._tasks.start(self._sync(channel, channel_log))
        return channel.sync_task

    async def _sync(self, channel: Channel, channel_log: ChannelLog) -> None:
        """Reads the log until nothing is missing; waits while the broker is unavailable."""
        stuck = 0
        self._tally.syncs[channel.rules.namespace] += 1
        while True:
            if channel.subscribers.congested:
                room = asyncio.Event()
                channel.subscribers.when_room(room.set)
                await room.wait()
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
                self._report_hole(channel)
                channel_log.skip_to(read.lost_upto)
            for entry in read.entries:
                self._deliver(channel, channel_log, entry)
            if read.more or not read.whole:
                continue  # after the hole, too, until nothing is missing up to the log's end
            stuck = 0 if read.entries else stuck + 1
            self._drain(channel, channel_log, regardless=stuck >= _STUCK_ROUNDS)
            if not channel_log.gap:
                channel_log.end_sync()
                return
            channel_log.begin_sync()

    def _drain(self, channel: Channel, channel_log: ChannelLog, regardless: bool = False) -> None:
        while (message := channel_log.next_buffered(regardless)) is not None:
            self._deliver(channel, channel_log, message)

    def _report_hole(self, channel: Channel) -> None:
        """Publications were evicted before this edge read them: positioned subscribers are sent to recover."""
        self._tally.holes[channel.rules.namespace] += 1
        channel.subscribers.forget_bases()
        channel.subscribers.end(codes.UNSUBSCRIBED_INSUFFICIENT_STATE, lambda subscription: subscription.positioned)

    # --- the broker's connection -------------------------------------------------------------------------------------

    def broker_disconnected(self) -> None:
        """Broker event. Clients stay; the publications they miss are fetched when the broker is back."""
        self._tally.broker_losses += 1
        self._doubt()

    def broker_connected(self) -> None:
        """Broker event: live messages may have been missed, so an audit follows at once. New ones wait until then.

        The audit also names the channels of which publications may have come and expired while this edge did not hear
        them: their sync asks for proof that nothing was missed.
        """
        self._member_tracker.broker_connected()
        self._tasks.start(self._catch_up(self._doubts))

    def logs_checked(self) -> None:
        """Broker event: a log has another epoch, or live messages were dropped while it was being checked."""
        self._doubt()
        self._tasks.start(self._catch_up(self._doubts))

    def _doubt(self) -> None:
        self._doubts += 1
        self._lost, self._unknown = True, None

    def _in_doubt(self, channel: Channel) -> bool:
        """Whether live messages of the channel may have been missed, and no audit has covered it yet."""
        return self._lost and (self._unknown is None or channel.address in self._unknown)

    async def _catch_up(self, doubts: int) -> None:
        """Audits until every channel is covered. A later doubt ends this: it is called again then."""
        wait_s = _SYNC_RETRY_S
        while self._broker.available and self._doubts == doubts:  # otherwise the next `broker_connected` goes on
            try:
                async with self._auditing:
                    if self._doubts != doubts:  # several streams came back at once: one audit covers all
                        return
                    audit = await self._audit_now()
            except (BrokerAway, BrokerRefused) as error:
                log.info("channel audit incomplete, will retry: %s", error)
            else:
                if self._doubts != doubts:
                    return
                self._unknown, self._lost = audit.unknown, bool(audit.unknown)
                self._release_held()
                if not audit.unknown:
                    return
                log.debug("channel audit incomplete, will retry: %s", _of_unknown(audit))
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _AUDIT_RETRY_S)

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for channel in held:
            if channel.closed or channel.log is None or _syncs(channel):  # a sync takes the waiting messages
                continue
            if self._in_doubt(channel):
                self._held.append(channel)
                continue
            self._drain(channel, channel.log)
            if channel.log.gap:
                self._begin_sync(channel, channel.log)
            else:
                channel.log.end_sync()

    async def audit(self) -> None:
        """Finds open channels whose log has moved on unnoticed, and syncs them.

        This finds the loss of a channel's last live message, which no later message reveals. Raises `BrokerAway`,
        `BrokerRefused` if it could not cover every channel; channels that it has found are synced nevertheless.
        """
        audit = await self._audit()
        if audit.unknown:
            raise BrokerAway(_of_unknown(audit))

    async def _audit(self) -> Audit:
        async with self._auditing:
            return await self._audit_now()

    async def _audit_now(self) -> Audit:
        positions: dict[ChannelAddress, int] = {}
        async for channel in yielding_every(self._channels):
            if channel.closed or channel.log is None or not channel.ready or _syncs(channel):
                continue  # a sync finds what is missing by itself
            if channel.log.epoch != self._broker.epoch(channel.address):
                self._invalidate(channel)
            else:
                positions[channel.address] = channel.log.last
        audit = await self._broker.audit(positions) if positions else Audit({})
        async for address, newest in yielding_every(audit.behind.items()):
            found = self._channels.get(address.channel)
            if found is None or found.log is None or not found.ready or _syncs(found):
                continue
            if found.log.epoch != self._broker.epoch(address):
                self._invalidate(found)
            elif found.log.last < newest:  # otherwise it has caught up since
                self._tally.gaps[found.rules.namespace] += 1
                self._begin_sync(found, found.log)
        return audit

    async def retire(self, rules_of: Callable[[str], ChannelRules | None]) -> int:
        """The rules of namespaces have changed: closes open channels that the new rules do not fit. Returns how many
        subscriptions this ends.

        `rules_of` returns the rules of a namespace, None if it is gone: then the subscriptions end for good. If history
        was switched on or off, clients are sent to subscribe again. Other subscriptions stay as they are.
        """
        ended = 0
        async for channel in yielding_every(self._channels):
            rules = rules_of(channel.rules.namespace)
            if channel.closed or (rules is not None and rules.has_history == channel.rules.has_history):
                continue
            ended += len(channel.subscribers)
            self._end(channel, codes.UNSUBSCRIBED_BY_SERVER if rules is None else codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        return ended

    def _invalidate(self, channel: Channel) -> None:
        """The log has another epoch, so that positions mean nothing: subscribers are sent to subscribe again."""
        log.warning(
            "the log of a channel has a new epoch: its %d subscribers subscribe again",
            len(channel.subscribers),
            extra=about(channel=channel.name),
        )
        self._end(channel, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)

    def _end(self, channel: Channel, why: UnsubscribeCode) -> None:
        channel.subscribers.silence()
        for subscriber, _ in channel.subscribers:
            subscriber.owner.end_subscription(channel.name, why)
        self._channels.close(channel)

    # --- tasks -------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Cancels opens and syncs that are in progress."""
        await self._tasks.stop()


def _of_unknown(audit: Audit) -> str:
    return f"{len(audit.unknown)} channels are in streams that could not be read: {audit.why}"


def _syncs(channel: Channel) -> bool:
    """Whether a sync of the channel is in progress."""
    return channel.sync_task is not None and not channel.sync_task.done()
