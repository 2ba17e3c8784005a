"""Where this edge's clients meet the cluster: subscribe with recovery, unsubscribe, publish, history, presence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate
from re import compile as compile_pattern
from typing import Final

from proto import codes
from proto.codes import ErrorCode
from proto.control import ActiveChannels, ChannelsFound, CountMembers, Members, MembersCounted, MembersFound
from proto.members import Joined, Left
from proto.messages import ClientInfo, PresenceStatsResult, Publication, StreamPosition, SubscribeResult
from proto.publications import Version
from services.edge.broker.broker import Broker, BrokerAway, ChannelAddress
from services.edge.channels.channel import Channel
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.history import page_before, page_from
from services.edge.channels.member_tracker import Instances, MemberTracker
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.open_channels import OpenChannels
from services.edge.channels.recovery import Missed, reach, recover, recover_from_ring
from services.edge.channels.subscribers import Subscriber
from services.edge.channels.subscription import AttachRequest, Subscription
from services.edge.cluster.join_leave import JoinLeave
from services.edge.cluster.peers import Peers, PeersAway
from services.edge.tally import Tally

CACHE: str = "cache"
_NEWEST_ROUNDS: Final = 20
"""A further one is needed only when a publication comes in just then."""


@dataclass(frozen=True, slots=True)
class History:
    """A page of a channel's history, and its top."""

    publications: list[Publication]
    top: StreamPosition


class Node:
    """See the module. `recovery_limit`: missed publications that are recovered at most, 0 for no limit."""

    def __init__(
        self,
        broker: Broker,
        join_leave: JoinLeave,
        peers: Peers,
        cluster: Instances,
        tally: Tally,
        recovery_limit: int = 0,
    ) -> None:
        self._broker = broker
        self._join_leave = join_leave
        self._peers = peers
        self._tally = tally
        self._recovery_limit = recovery_limit
        self.member_tracker = MemberTracker(join_leave, peers, cluster)
        self.channels = OpenChannels(broker, tally, self.member_tracker)

    @property
    def available(self) -> bool:
        """Whether the broker is there."""
        return self._broker.available

    # --- subscribing -------------------------------------------------------------------------------------------------

    async def subscribe(self, subscriber: Subscriber, request: AttachRequest) -> SubscribeResult | ErrorCode:
        """Attaches a subscriber, caught up to the channel's log.

        When this returns a result the subscriber is attached (and seen in presence), and nothing has been pushed to it:
        the caller must send the reply, then call `joined`, before it awaits anything. Raises `BrokerAway`.
        """
        subscription = request.subscription
        with self.channels.using(request.channel, subscription.rules) as channel:
            await self.channels.opened(channel)
            if subscription.pushes_join_leave:
                await self.member_tracker.known(channel)
            result = self._attach_now(channel, subscriber, request)
            if result is not None:
                return result
            assert channel.log is not None
            if _reads_newest(request):
                missed = await self._cached(channel, channel.log, request.recover)
            else:
                assert request.recover is not None
                missed = await recover(self._broker, self.channels, channel, request.recover, self._recovery_limit)
            # No await from here to the caller's reply: the subscriber is caught up exactly to log.last.
            if request.recover is not None:
                self._count_recovery(missed)
                if missed is None and request.reject_unrecovered:
                    return codes.UNRECOVERABLE_POSITION
            self._attach(channel, subscriber, subscription)
            return _recovery_result(request, channel.log, missed)

    def subscribe_now(self, subscriber: Subscriber, request: AttachRequest) -> SubscribeResult | None:
        """What `subscribe` does, at once, where nothing has to be awaited; None where something has to be.

        That is an open channel, and nothing to recover but what its ring holds: what nearly all subscribes are.
        """
        channel = self.channels.get(request.channel)
        if channel is None or not channel.is_open:
            return None
        if request.subscription.pushes_join_leave and not channel.knows_remote_members:
            return None
        return self._attach_now(channel, subscriber, request)

    def _attach_now(self, channel: Channel, subscriber: Subscriber, request: AttachRequest) -> SubscribeResult | None:
        """Attaches a subscriber that has nothing to recover but what the ring holds; None for any other."""
        log, since = channel.log, request.recover
        if log is None:
            self._attach(channel, subscriber, request.subscription)
            return _result(request)
        if _reads_newest(request):
            return None
        if since is None:
            self._attach(channel, subscriber, request.subscription)
            return _result(request, log)
        missed = recover_from_ring(log, since, self._recovery_limit)
        if missed is None:
            return None
        self._count_recovery(missed)
        self._attach(channel, subscriber, request.subscription)
        return _recovery_result(request, log, missed)

    def _count_recovery(self, missed: Missed) -> None:
        if missed is None:
            self._tally.unrecovered += 1
        else:
            self._tally.recovered += 1
            self._tally.recovered_publications += len(missed)

    async def _cached(self, channel: Channel, log: ChannelLog, since: StreamPosition | None) -> Missed:
        """The newest publication, nothing for who has it, None where there is none or the position is made up."""
        offset = since.offset if since is not None and since.epoch == log.epoch else 0
        if not await reach(self._broker, self.channels, channel, offset):
            return None
        newest = await self._newest(channel, log)
        if newest is None:
            return None
        return [newest] if newest.offset > offset else []

    async def _newest(self, channel: Channel, log: ChannelLog) -> Publication | None:
        """The newest publication as of `log.last`, None for none. What has expired only the log knows, not the ring."""
        for _ in range(_NEWEST_ROUNDS):
            last = log.last
            entry = await self._broker.newest(channel.address)
            if entry is not None and entry.sequence > log.last:  # its live message is still on its way
                await self.channels.synced(channel)
            if log.last == last:
                return None if entry is None else entry.publication
            newest = log.newest
            if newest is not None and newest.offset > last:  # it came just now
                return newest
        raise BrokerAway("the channel changes faster than it is read")

    def _attach(self, channel: Channel, subscriber: Subscriber, subscription: Subscription) -> None:
        if channel.closed:  # its log was made anew meanwhile: the client asks again, and is told
            raise BrokerAway("the channel was closed")
        channel.subscribers.add(subscriber, subscription)
        channel.users += 1

    def joined(self, name: str, subscription: Subscription) -> None:
        """The subscriber has its reply: tells the channel that somebody came."""
        if subscription.emits_join_leave and subscription.member is not None:
            subscription.announced = True
            self._join_leave.publish(name, Joined(self._peers.instance, subscription.member))

    def unsubscribe(self, subscriber: Subscriber, name: str) -> None:
        """Detaches a subscriber: nothing of this channel is pushed to it any more. Unknown ones are fine."""
        channel = self.channels.get(name)
        subscription = None if channel is None else channel.subscribers.remove(subscriber)
        if channel is None or subscription is None:
            return
        if subscription.announced and subscription.member is not None:
            self._join_leave.publish(name, Left(self._peers.instance, subscription.member))
        self.channels.release(channel)

    def flush(self, names: Iterable[str]) -> None:
        """What was published in these channels in this turn of the loop is given to their subscribers now."""
        for name in names:
            channel = self.channels.get(name)
            if channel is not None:
                channel.subscribers.flush()

    # --- where channels stand ----------------------------------------------------------------------------------------

    def position(self, name: str) -> StreamPosition | None:
        """How far an open channel has come, with everything given out; None for a channel without history."""
        channel = self.channels.get(name)
        if channel is None or channel.log is None:
            return None
        channel.subscribers.flush()
        return StreamPosition(channel.log.last, channel.log.epoch)

    def delivered_position(self, name: str) -> StreamPosition | None:
        """How far the subscribers of an open channel have been told: for who stalls in the middle of a fan-out."""
        channel = self.channels.get(name)
        if channel is None or channel.log is None:
            return None
        return StreamPosition(channel.delivered_offset, channel.log.epoch)

    async def missed(self, name: str, since: StreamPosition) -> tuple[Channel, Missed] | None:
        """What a subscriber that stalled at `since` has to be given now; None when the channel is gone.

        As with `subscribe`, it is exact only until the next await. Raises `BrokerAway`.
        """
        channel = self.channels.get(name)
        if channel is None or channel.log is None:
            return None
        return channel, await recover(self._broker, self.channels, channel, since, limit=0)

    # --- publishing and reading --------------------------------------------------------------------------------------

    async def publish(
        self,
        name: str,
        rules: ChannelRules,
        publication: Publication,
        message_id: str = "",
        version: Version | None = None,
        skip_history: bool = False,
    ) -> StreamPosition | None:
        """Publishes; with history, returns once it is stored. Raises `BrokerAway`, `BrokerRefused`."""
        address = _address(name, rules)
        if rules.has_history and skip_history:
            await self._broker.publish_past_log(address, publication, message_id)
            self._tally.publishes += 1
            return None
        position = await self._broker.publish(address, publication, message_id, version)
        self._tally.publishes += 1
        return position

    async def history(
        self, name: str, rules: ChannelRules, limit: int, since: StreamPosition | None, reverse: bool
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
            if reverse:
                newest = await self._broker.newest(channel.address)  # what was stored just now may not be here yet
                if newest is None:
                    return History([], top)
                top = StreamPosition(max(top.offset, newest.sequence), top.epoch)
                before = min(since.offset, top.offset + 1) if since else top.offset + 1
                return History(await page_before(self._broker, channel.address, before, limit), top)
            page = await page_from(self._broker, channel.address, since.offset + 1 if since else 1, limit)
            if page and page[-1].offset > top.offset:  # stored while it was read
                top = StreamPosition(page[-1].offset, top.epoch)
            return History(page, top)

    async def remove_history(self, name: str, rules: ChannelRules) -> None:
        """Removes what is retained of a channel. Raises `BrokerAway`, `BrokerRefused`."""
        await self._broker.remove_history(_address(name, rules))

    # --- presence: the truth is in the edges' memory, so all of them are asked ---------------------------------------

    async def presence(self, name: str) -> dict[str, ClientInfo]:
        """The members of a channel on all edges, by client id. Raises `BrokerAway` when an edge does not answer."""
        found: dict[str, ClientInfo] = {}
        for answer in await self._ask_all(Members(name)):
            if isinstance(answer, MembersFound):
                found |= answer.members
        return found

    async def presence_stats(self, name: str) -> PresenceStatsResult:
        """How many they are. Raises `BrokerAway`."""
        clients, users = 0, set[str]()
        for answer in await self._ask_all(CountMembers(name)):
            if isinstance(answer, MembersCounted):
                clients += answer.clients
                users.update(answer.users)
        return PresenceStatsResult(clients, len(users))

    async def active_channels(self, pattern: str) -> dict[str, int]:
        """Channels with subscribers anywhere, and how many. `pattern` is a glob, "" for all. Raises `BrokerAway`."""
        found: dict[str, int] = {}
        for answer in await self._ask_all(ActiveChannels(pattern)):
            if isinstance(answer, ChannelsFound):
                for channel, count in answer.channels.items():
                    found[channel] = found.get(channel, 0) + count
        return found

    async def _ask_all(self, request: Members | CountMembers | ActiveChannels) -> list[object]:
        try:
            return list(await self._peers.ask_all(request))
        except PeersAway as error:
            raise BrokerAway(str(error)) from None

    def members_here(self, name: str) -> dict[str, ClientInfo]:
        """The members of a channel on this edge, by client id."""
        channel = self.channels.get(name)
        return {} if channel is None else channel.subscribers.members()

    def channels_here(self, pattern: str) -> dict[str, int]:
        """Channels with subscribers on this edge, and how many."""
        matches: Callable[[str], object] = compile_pattern(translate(pattern)).match if pattern else lambda name: True
        return {
            channel.name: len(channel.subscribers)
            for channel in self.channels
            if len(channel.subscribers) and matches(channel.name)
        }


def _reads_newest(request: AttachRequest) -> bool:
    """Whether the channel is a cache, of which a subscriber gets the newest publication instead of what it missed."""
    options = request.subscription.rules.options
    return options.force_recovery_mode == CACHE and (request.recover is not None or options.auto_cache_recover)


def _address(name: str, rules: ChannelRules) -> ChannelAddress:
    return ChannelAddress(name, rules.history_class if rules.has_history else "")


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
        # mode they are where the log is, but never behind where they were.
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
        # SDKs hand on what comes with a server-side subscription only if it says so.
        recovered=missed is not None and (request.recover is not None or (subscription.server_side and bool(missed))),
        publications=missed or [],
        delta=subscription.delta,
    )
