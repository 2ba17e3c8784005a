"""Pushes joins and leaves to subscribers, and keeps the members of channels on other edges for that.

While a channel has a subscriber here that gets joins and leaves, this edge keeps the channel's members on the other
edges, as each edge reports them. When an edge is lost, no leave is published for the members that it held: every other
edge then pushes their leaves to its own subscribers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from proto.control import ActiveChannels, ChannelsFound, Members, MembersFound
from proto.members import Changed, Joined, MemberEvent
from proto.messages import ClientInfo
from proto.replies import Join, Leave, Push
from services.chassis.process.log_fields import about
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import BrokerAway
from services.edge.channels.channel import Channel
from services.edge.channels.remote_members import MAX_MEMBERS, RemoteMembers
from services.edge.channels.shared_task import shared
from services.edge.cluster.join_leave import JoinLeave
from services.edge.cluster.peers import PeerGone, Peers, PeersAway

log = logging.getLogger(__name__)

_ASK_AGAIN_S: Final = 1.0


class Instances(Protocol):
    """The other edges that are alive (`Cluster`)."""

    def instances(self) -> list[str]:
        """The other edges that are alive."""

    def knows(self, instance: str) -> bool:
        """Whether this edge is known to be alive."""


Told = dict[str, ClientInfo | None]
"""What was pushed to subscribers about members, by client id: the newest join, or None for a leave."""


class MemberTracker:
    """Keeps `Channel.remote_members`, and pushes joins and leaves. Events come from `JoinLeave` and from `Cluster`."""

    def __init__(self, join_leave: JoinLeave, peers: Peers, cluster: Instances) -> None:
        self._join_leave = join_leave
        self._peers = peers
        self._cluster = cluster
        self._channels: dict[str, Channel] = {}
        self._suppresses_own_leaves = False
        self._listening: dict[str, list[Told]] = {}
        self._asking: set[str] = set()  # edges that are asked for their channels, and have not answered yet
        self._tasks = Tasks()

    async def known(self, channel: Channel) -> None:
        """Waits until the channel's members on other edges are known. Raises `BrokerAway` if that fails."""
        if not channel.remote_members_known:
            if channel.member_task is None:
                channel.member_task = self._tasks.start(self._learn(channel))
            await shared(channel.member_task)

    def close(self, channel: Channel) -> None:
        """The channel is closed: forgets its members on other edges."""
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            self._join_leave.close(channel.name)
        channel.remote_members = None

    @contextmanager
    def listening(self, channel: str) -> Iterator[Told]:
        """Collects what is pushed to subscribers here about a channel's members during the block."""
        told: Told = {}
        self._listening.setdefault(channel, []).append(told)
        try:
            yield told
        finally:
            listening = self._listening[channel]
            listening[:] = [each for each in listening if each is not told]
            if not listening:
                del self._listening[channel]

    def suppress_own_leaves(self) -> None:
        """From now on clients here get no leaves of clients of this edge; clients of other edges still do.

        For a drain: while N members of a channel are closed one after the other, each leave would be pushed to all
        remaining members: O(N²) pushes, to clients that subscribe on another edge a moment later.
        """
        self._suppresses_own_leaves = True

    async def _learn(self, channel: Channel) -> str:
        """Returns the error, "" if it succeeded."""
        try:
            members = channel.remote_members = RemoteMembers()
            self._channels[channel.name] = channel
            self._join_leave.open(channel.name)
            await asyncio.gather(*(self._ask(channel, members, each) for each in self._cluster.instances()))
            channel.remote_members_known = True
            return ""
        except (PeersAway, BrokerAway) as error:
            why = str(error)
        except Exception as error:
            what = "the other edges could not be asked for the members of a channel"
            log.exception(what, extra=about(channel=channel.name))
            why = str(error)
        finally:
            channel.member_task = None
            if not channel.remote_members_known:
                self.close(channel)
        return f"the channel's members are not known: {why}"

    async def _ask(
        self, channel: Channel, members: RemoteMembers, instance: str
    ) -> tuple[list[ClientInfo], list[ClientInfo]]:
        """Replaces the known members of one edge by its answer. Returns `(joined, left)`."""
        expectation = members.expect_snapshot(instance)
        try:
            answer = await self._peers.ask(instance, Members(channel.name))
        except PeerGone:  # `edge_lost` follows
            members.abandon(expectation)
            return [], []
        except BaseException:
            members.abandon(expectation)
            raise
        return members.apply(expectation, answer.members if isinstance(answer, MembersFound) else {})

    # --- events ------------------------------------------------------------------------------------------------------

    def member_event(self, channel: str, event: MemberEvent) -> None:
        """A client joined, changed or left (`JoinLeaveEvents`)."""
        found = self._channels.get(channel)
        if found is None or found.remote_members is None:
            return
        own = event.edge == self._peers.instance
        # The loss of an edge that the cluster does not know would never be reported, so its events are ignored. Once
        # the cluster finds it, it is asked for its members. The last events of a lost edge are ignored for the same
        # reason.
        if not own and not self._cluster.knows(event.edge):
            return
        if isinstance(event, Changed):
            if not own and found.remote_members.joined(event.edge, event.info):
                self._push(found, joined=[event.info])  # its join was missed
        elif isinstance(event, Joined):
            if own or found.remote_members.joined(event.edge, event.info):
                self._push(found, joined=[event.info])
        elif own and self._suppresses_own_leaves:
            return
        elif own or found.remote_members.left(event.edge, str(event.info.client)) is not None:
            self._push(found, left=[event.info])

    def edge_lost(self, instance: str) -> None:
        """An edge is gone, and its members with it (`ClusterEvents`)."""
        for channel in tuple(self._channels.values()):
            if channel.remote_members is not None:
                self._push(channel, left=channel.remote_members.lost(instance))

    def edge_found(self, instance: str) -> None:
        """An edge was found (`ClusterEvents`). It may be an old one, and does not repeat its members' joins."""
        if self._channels:
            self._tasks.start(self._compare(instance))

    def edge_returned(self, instance: str) -> None:
        """An edge was cut off for a moment (`ClusterEvents`): nobody has heard joins and leaves on it."""
        if self._channels and instance not in self._asking:
            self._tasks.start(self._compare(instance))

    def broker_connected(self) -> None:
        """Joins and leaves may have been missed while the broker was unavailable: asks every edge."""
        if self._channels:
            for instance in self._cluster.instances():
                self._tasks.start(self._compare(instance))

    async def _compare(self, instance: str) -> None:
        """Asks an edge for its members in every channel with `remote_members`, and pushes what has changed."""
        while self._cluster.knows(instance):
            try:
                self._asking.add(instance)
                try:
                    active = await self._peers.ask(instance, ActiveChannels())
                finally:
                    self._asking.discard(instance)
                known = active.channels if isinstance(active, ChannelsFound) else {}
                for channel in tuple(self._channels.values()):
                    remote_members = channel.remote_members
                    if remote_members is not None and (channel.name in known or remote_members.holds(instance)):
                        joined, left = await self._ask(channel, remote_members, instance)
                        if channel.remote_members is remote_members:
                            self._push(channel, joined, left)
                return
            except PeerGone:
                return  # `edge_lost` follows
            except PeersAway as error:
                what = "an edge did not report its members, asking again: %s"
                log.info(what, error, extra=about(instance=instance))
                await asyncio.sleep(_ASK_AGAIN_S)

    def _push(self, channel: Channel, joined: Iterable[ClientInfo] = (), left: Iterable[ClientInfo] = ()) -> None:
        for info in left:
            self._note(channel.name, info, None)
            channel.subscribers.fan_out_member_event(Push(channel=channel.name, leave=Leave(info)))
        for info in joined:
            self._note(channel.name, info, info)
            channel.subscribers.fan_out_member_event(Push(channel=channel.name, join=Join(info)))

    def _note(self, channel: str, info: ClientInfo, joined: ClientInfo | None) -> None:
        for told in self._listening.get(channel, ()):
            if info.client in told or len(told) < MAX_MEMBERS:
                told[str(info.client)] = joined

    # --- tasks -------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Cancels questions to other edges that are in progress."""
        await self._tasks.stop()
