"""Who is told of joins and leaves, and of whom: the rosters of open channels, and what happens to them.

An edge that has somebody to tell keeps the channel's members on the other edges, as each of them says. When an edge is
lost, nobody says goodbye for the members that it held: every other edge then tells its own subscribers that they left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Final, Protocol

from proto.control import ActiveChannels, ChannelsFound, Members, MembersFound
from proto.members import Joined, MemberEvent
from proto.messages import ClientInfo, Join, Leave, Push
from services.chassis.process.tasks import end
from services.edge.broker.broker import BrokerAway
from services.edge.channels.channel import Channel
from services.edge.channels.roster import Roster
from services.edge.cluster.membership import Membership
from services.edge.cluster.peers import PeerGone, Peers, PeersAway

log = logging.getLogger(__name__)

_ASK_AGAIN_S: Final = 1.0


class Instances(Protocol):
    """Which other edges there are."""

    def instances(self) -> list[str]: ...

    def knows(self, instance: str) -> bool: ...


class Rosters:
    """See the module. Told by the membership, by the cluster (`edge_found`, `edge_lost`) and by who closes channels."""

    def __init__(self, membership: Membership, peers: Peers, cluster: Instances) -> None:
        self._membership = membership
        self._peers = peers
        self._cluster = cluster
        self._channels: dict[str, Channel] = {}
        self.parting = False
        """Whether all clients here are being sent away: they are not told of each other's leaves, which would be as
        many pushes as the square of a channel's members. Other edges' clients are, and these ask anew elsewhere."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def known(self, channel: Channel) -> None:
        """Waits until the channel's members on other edges are known. Raises `BrokerAway` when that fails."""
        if channel.roster_known is None:
            channel.roster_known = asyncio.get_running_loop().create_future()
            self._start(self._learn(channel, channel.roster_known))
        await asyncio.shield(channel.roster_known)

    def close(self, channel: Channel) -> None:
        """Nobody here is in the channel any more."""
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            self._membership.close(channel.name)
        channel.roster = None

    async def _learn(self, channel: Channel, known: asyncio.Future[None]) -> None:
        try:
            channel.roster = Roster()
            self._channels[channel.name] = channel
            self._membership.open(channel.name)
            roster = channel.roster
            await asyncio.gather(*(self._ask(channel, roster, each) for each in self._cluster.instances()))
            known.set_result(None)
        except BaseException as error:
            self.close(channel)
            channel.roster_known = None  # the next one who wants it tries again
            known.set_exception(BrokerAway(f"the channel's members are not known: {error}"))
            known.exception()  # marks it as seen, for the case that whoever wanted it has left
            if not isinstance(error, (PeersAway, BrokerAway)):
                raise

    async def _ask(self, channel: Channel, roster: Roster, instance: str) -> tuple[list[ClientInfo], list[ClientInfo]]:
        """Puts what one edge says in the place of what the roster held of it: (who came, who left)."""
        expectation = roster.expecting(instance)
        try:
            answer = await self._peers.ask(instance, Members(channel.name))
        except PeerGone:  # `edge_lost` tells of it
            roster.give_up(expectation)
            return [], []
        except BaseException:
            roster.give_up(expectation)
            raise
        return roster.replace(expectation, answer.members if isinstance(answer, MembersFound) else {})

    # --- what is heard -----------------------------------------------------------------------------------------------

    def member_event(self, channel: str, event: MemberEvent) -> None:
        """Somebody came or went (membership event)."""
        found = self._channels.get(channel)
        if found is None or found.roster is None:
            return
        own = event.edge == self._peers.instance
        # Nobody would say that an edge is gone which the cluster does not know: it is listened to when it is found, and
        # asked then for what it has said before. So the last words of an edge that was lost are not told either.
        if not own and not self._cluster.knows(event.edge):
            return
        if isinstance(event, Joined):
            if own or found.roster.joined(event.edge, event.info):
                self._tell(found, joined=[event.info])
        elif own and self.parting:
            return
        elif own or found.roster.left(event.edge, str(event.info.client)) is not None:
            self._tell(found, left=[event.info])

    def edge_lost(self, instance: str) -> None:
        """An edge is gone with all its members (cluster event)."""
        for channel in tuple(self._channels.values()):
            if channel.roster is not None:
                self._tell(channel, left=channel.roster.lost(instance))

    def edge_found(self, instance: str) -> None:
        """An edge is there (cluster event). If it was there before, nobody will repeat the joins of its members."""
        if self._channels:
            self._start(self._compare(instance))

    def broker_found(self) -> None:
        """Joins and leaves may have been missed while the broker was away."""
        if self._channels:
            for instance in self._cluster.instances():
                self._start(self._compare(instance))

    async def _compare(self, instance: str) -> None:
        """Asks an edge for its members in every channel with a roster, and tells what came of it meanwhile."""
        while self._cluster.knows(instance):
            try:
                active = await self._peers.ask(instance, ActiveChannels())
                known = active.channels if isinstance(active, ChannelsFound) else {}
                for channel in tuple(self._channels.values()):
                    roster = channel.roster
                    if roster is not None and (channel.name in known or roster.holds(instance)):
                        joined, left = await self._ask(channel, roster, instance)
                        if channel.roster is roster:
                            self._tell(channel, joined, left)
                return
            except PeerGone:
                return  # `edge_lost` tells of it
            except PeersAway as error:
                log.info("an edge is asked for its members again, as it did not answer: %s", error)
                await asyncio.sleep(_ASK_AGAIN_S)

    def _tell(self, channel: Channel, joined: Iterable[ClientInfo] = (), left: Iterable[ClientInfo] = ()) -> None:
        for info in left:
            channel.audience.fan_out_members(Push(channel=channel.name, leave=Leave(info)))
        for info in joined:
            channel.audience.fan_out_members(Push(channel=channel.name, join=Join(info)))

    # --- tasks -------------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Ends what is under way."""
        await end(tuple(self._tasks))
