"""Where this edge's clients meet the cluster: subscribing with recovery, unsubscribing, publishing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from proto import codes
from proto.members import Changed, Joined, Left
from proto.messages import Publication, StreamPosition
from proto.publications import Version
from proto.replies import SubscribeResult
from services.chassis.tracing.span import ACTIVE, PRODUCER, Tracer, active
from services.edge.broker.broker import Broker, BrokerAway, BrokerRefused
from services.edge.channel_settings import CACHE
from services.edge.channels.batch import is_ended
from services.edge.channels.channel import Channel
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.channel_registry import ChannelRegistry
from services.edge.channels.delivery import publishing
from services.edge.channels.history import ChannelHistory
from services.edge.channels.log_parts import LogParts, Part
from services.edge.channels.member_tracker import Instances, MemberTracker
from services.edge.channels.missed import MissedPublications, recover_from_ring
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.presence import Presence
from services.edge.channels.recovery import Missed, recover_newest
from services.edge.channels.subscriber import Subscriber
from services.edge.channels.subscription import AttachRequest, Subscription
from services.edge.channels.sync import ChannelSync
from services.edge.cluster.join_leave import JoinLeave
from services.edge.cluster.peers import Peers
from services.edge.rejection import Rejected
from services.edge.tally import Tally


class Attachment(NamedTuple):
    """The result for an attached subscriber. `behind`: the result ends at this position, and it must catch up from
    there."""

    result: SubscribeResult
    behind: StreamPosition | None = None


class Node:
    """The channels of one edge. `recovery_limit`: the most missed publications that are recovered, 0 for no limit.

    Its parts: `channels` (the open ones), `sync` (brings them up to date; hears the broker), `member_tracker` (hears
    joins, leaves and the cluster), `history`, `parts` (of logs, for clients that catch up), `presence`.
    """

    def __init__(
        self,
        broker: Broker,
        join_leave: JoinLeave,
        peers: Peers,
        cluster: Instances,
        tally: Tally,
        recovery_limit: int = 0,
        tracer: Tracer | None = None,
    ) -> None:
        self._broker = broker
        self._join_leave = join_leave
        self._instance = peers.instance
        self._tally = tally
        self._recovery_limit = recovery_limit
        self.subscriptions = 0  # of all clients here
        self.member_tracker = MemberTracker(join_leave, peers, cluster)
        self.channels = ChannelRegistry(broker, self.member_tracker)
        self.sync = ChannelSync(broker, tally, self.channels, self.member_tracker, tracer)
        self.history = ChannelHistory(broker, self.channels, self.sync)
        self.parts = LogParts(broker, tally)
        self._missed = MissedPublications(broker, self.sync, self.parts)
        self.presence = Presence(peers, self.channels, self.member_tracker)

    @property
    def available(self) -> bool:
        """Whether the broker is available."""
        return self._broker.available

    # --- subscribing -------------------------------------------------------------------------------------------------

    async def subscribe(self, subscriber: Subscriber, request: AttachRequest) -> Attachment:
        """Attaches a subscriber, with the first publications that it missed; usually these are all.

        When this returns a result, the subscriber is attached (and counts as present), and nothing has been pushed to
        it: the caller must send the reply, then call `announce`, before it awaits anything. Raises `BrokerAway`,
        `Rejected`.
        """
        subscription = request.subscription
        self._check_answers(request)
        with self.channels.using(request.channel, subscription.rules) as channel:
            await self.sync.opened(channel)
            if subscription.pushes_join_leave:
                await self.member_tracker.known(channel)
            result = self._attach_now(channel, subscriber, request)
            if result is not None:
                return Attachment(result)
            assert channel.log is not None
            began = asyncio.get_running_loop().time()
            missed, behind = await self._recover(channel, request)
            # No await from here to the caller's reply: the subscriber is caught up exactly to log.last, or to `behind`.
            if request.recover is not None:
                self._count_recovery(subscriber, request, missed, asyncio.get_running_loop().time() - began)
                if missed is None and request.reject_unrecovered:
                    raise Rejected(codes.UNRECOVERABLE_POSITION)
            self._attach(channel, subscriber, subscription)
            return Attachment(_recovery_result(request, channel.log, missed), behind)

    def _check_answers(self, request: AttachRequest) -> None:
        if not self._broker.health.answers(request.subscription.rules.address(request.channel)):
            raise BrokerAway("the stream with the channel's history does not answer, or does not store")

    async def _recover(self, channel: Channel, request: AttachRequest) -> tuple[Missed, StreamPosition | None]:
        """What a subscriber missed, and the position from which it must catch up if that is not all."""
        log = channel.log
        assert log is not None
        if _reads_newest(request):
            return await recover_newest(self._broker, self.sync, channel, request.recover), None
        assert request.recover is not None
        found = await self._missed.recover(channel, request.recover, self._recovery_limit)
        if found is None:
            return None, None
        return found.publications, StreamPosition(found.upto, log.epoch) if found.upto < log.last else None

    def subscribe_now(self, subscriber: Subscriber, request: AttachRequest) -> SubscribeResult | None:
        """Does what `subscribe` does, if nothing has to be awaited for it; otherwise does nothing and returns None.

        Nothing has to be awaited if the channel is open, and its ring holds everything to recover: that is true of
        nearly all subscribes.
        """
        channel = self.channels.get(request.channel)
        if channel is None or not channel.is_open or not channel.fits(request.subscription.rules):
            return None
        if not self._broker.health.answers(channel.address):
            return None
        if request.subscription.pushes_join_leave and not channel.remote_members_known:
            return None
        return self._attach_now(channel, subscriber, request)

    def _attach_now(self, channel: Channel, subscriber: Subscriber, request: AttachRequest) -> SubscribeResult | None:
        """Attaches a subscriber if the ring holds everything that it has to recover; otherwise returns None."""
        log, since = channel.log, request.recover
        if log is None:
            self._attach(channel, subscriber, request.subscription)
            return _result(request)
        if _reads_newest(request):
            return None
        if since is None:
            self._attach(channel, subscriber, request.subscription)
            return _result(request, log)
        now = asyncio.get_running_loop().time()
        retained = self._broker.index.retained(channel.address)
        missed = recover_from_ring(log, since, self._recovery_limit, retained, now)
        if missed is None:
            return None
        self._count_recovery(subscriber, request, missed, 0.0)
        self._attach(channel, subscriber, request.subscription)
        return _recovery_result(request, log, missed)

    def _count_recovery(self, subscriber: Subscriber, request: AttachRequest, missed: Missed, took_s: float) -> None:
        tally, namespace = self._tally, request.subscription.rules.namespace
        result = "unrecovered" if missed is None else "recovered"
        tally.timings.recovery_seconds.of(namespace).observe(took_s)
        tally.recoveries[namespace, result] += 1
        if not subscriber.closed:  # a subscriber that has left meanwhile has no owner any more
            tally.recoveries_by_client[(*subscriber.owner.labels(), result)] += 1
        if missed is not None:
            tally.recovered_publications += len(missed)
            tally.timings.recovery_publications.of(namespace).observe(len(missed))

    def _attach(self, channel: Channel, subscriber: Subscriber, subscription: Subscription) -> None:
        if channel.closed:  # its log got a new epoch meanwhile: the client asks again, and learns it then
            raise BrokerAway("the channel was closed")
        channel.subscribers.add(subscriber, subscription)
        self.channels.hold(channel)
        self.subscriptions += 1

    def announce(self, name: str, subscription: Subscription) -> None:
        """The subscriber has its reply: publishes its join, or that its info has changed since the join."""
        member = subscription.member
        if subscription.emits_join_leave and member is not None and member is not subscription.announced:
            event = Joined if subscription.announced is None else Changed
            subscription.announced = member
            self._join_leave.publish(name, event(self._instance, member))

    def unsubscribe(self, subscriber: Subscriber, name: str) -> None:
        """Detaches a subscriber: nothing of this channel is pushed to it from now on. Publishes its leave.

        Does nothing if it is not subscribed. Writes nothing: see `flush`.
        """
        channel = self.channels.get(name)
        subscription = None if channel is None else channel.subscribers.remove(subscriber)
        if channel is None or subscription is None:
            return
        self.subscriptions -= 1
        if subscription.announced is not None and subscription.member is not None:
            self._join_leave.publish(name, Left(self._instance, subscription.member))
        self.channels.release(channel)

    def flush(self, subscriber: Subscriber, names: Iterable[str]) -> None:
        """Writes to a subscriber now what was published in these channels and still waits to be written to it."""
        for name in names:
            channel = self.channels.get(name)
            if channel is not None:
                channel.subscribers.flush(subscriber)

    # --- where channels stand ----------------------------------------------------------------------------------------

    def position(self, name: str) -> StreamPosition | None:
        """The position of an open channel; None for a channel without history."""
        channel = self.channels.get(name)
        if channel is None or channel.log is None:
            return None
        return StreamPosition(channel.log.last, channel.log.epoch)

    def delivered_position(self, name: str, subscription: Subscription) -> StreamPosition | None:
        """The position up to which a subscriber of an open channel was sent everything.

        It is behind `position` while publications of the channel wait to be written to the subscriber. None without
        history, and for a subscription that is about to end: its client recovers from where it is.
        """
        channel = self.channels.get(name)
        if channel is None or channel.log is None or is_ended(subscription):
            return None
        return StreamPosition(channel.delivered_offset(subscription), channel.log.epoch)

    def delivered_offset(self, name: str, subscriber: Subscriber) -> int:
        """The offset up to which a subscriber was sent everything; 0 without history, or if it is not subscribed."""
        channel = self.channels.get(name)
        subscription = None if channel is None else channel.subscribers.get(subscriber)
        position = None if subscription is None else self.delivered_position(name, subscription)
        return 0 if position is None else position.offset

    def resume(self, name: str, subscriber: Subscriber, subscription: Subscription) -> None:
        """A subscriber has caught up with an open channel's log: from now on it gets new publications."""
        channel = self.channels.get(name)
        if channel is not None:
            channel.subscribers.resume(subscriber, subscription)

    async def missed(self, name: str, since: StreamPosition) -> tuple[Channel, Part | None] | None:
        """The channel, and the next part for a subscriber that stalled at `since`; None if the channel is not open.

        The part is None without proof that nothing lies between. Exact only until the next await. Raises `BrokerAway`.
        """
        channel = self.channels.get(name)
        if channel is None or channel.log is None:
            return None
        return channel, await self._missed.next_part(channel, since)

    # --- publishing --------------------------------------------------------------------------------------------------

    async def publish(
        self,
        name: str,
        rules: ChannelRules,
        publication: Publication,
        message_id: str = "",
        version: Version | None = None,
        skip_history: bool = False,
        confirm: bool = False,
    ) -> StreamPosition | None:
        """Publishes; with history, returns the position once it is stored. Raises `BrokerAway`, `BrokerRefused`.

        `confirm`: a publication that is not stored has reached the broker when this returns (see `Broker.publish`). All
        publishes of clients and backends come here, so failed ones are counted here, except those that are cut off by
        the deadline of their command or call: the code that sets the deadline counts these.
        """
        cause = ACTIVE.get()
        if cause is not None and cause.kind is not PRODUCER:
            with active(publishing(cause, name, publication)):
                return await self.publish(name, rules, publication, message_id, version, skip_history, confirm)
        address = rules.address(name)
        position = None
        try:
            if rules.has_history and skip_history:
                await self._broker.publish_past_log(address, publication, message_id, confirm)
            else:
                position = await self._broker.publish(address, publication, message_id, version, confirm)
        except (BrokerAway, BrokerRefused) as error:
            self._tally.publish_failed(error.cause)
            raise
        self._tally.publishes += 1
        return position


def _reads_newest(request: AttachRequest) -> bool:
    """Whether the channel is a cache, and the subscriber gets its newest publication instead of what it missed."""
    options = request.subscription.rules.options
    asked = request.recover is not None or request.cache_recover or options.auto_cache_recover
    return asked and options.force_recovery_mode == CACHE


def _result(request: AttachRequest, channel_log: ChannelLog | None = None) -> SubscribeResult:
    """The result of a subscribe that recovers nothing."""
    subscription = request.subscription
    at = channel_log if subscription.positioned else None
    return SubscribeResult(
        expires=request.ttl > 0,
        ttl=request.ttl,
        recoverable=subscription.recoverable and at is not None,
        positioned=at is not None,
        epoch="" if at is None else at.epoch,
        offset=0 if at is None else at.last,
        data=request.data,
        delta=subscription.delta,
    )


def _recovery_result(request: AttachRequest, channel_log: ChannelLog, missed: Missed) -> SubscribeResult:
    subscription = request.subscription
    cached = subscription.rules.options.force_recovery_mode == CACHE
    offset = channel_log.last
    if missed is not None and request.recover is not None:
        # On success SDKs expect their own offset back and advance it with each publication that they hand on. In cache
        # mode they get the log's offset, but never one behind their own.
        offset = max(offset, request.recover.offset) if cached else request.recover.offset
    return SubscribeResult(
        expires=request.ttl > 0,
        ttl=request.ttl,
        recoverable=subscription.recoverable,
        positioned=subscription.positioned,
        epoch=channel_log.epoch,
        offset=offset,
        data=request.data,
        was_recovering=request.recover is not None,
        # SDKs deliver the publications of a server-side subscription only if it is marked as recovered.
        recovered=missed is not None and (request.recover is not None or (subscription.server_side and bool(missed))),
        publications=missed or [],
        delta=subscription.delta,
    )
