"""Who is in a channel, on this edge and on all edges.

The edge that holds a connection owns the truth about it, so a question about all edges is sent to each of them. An
answer is complete, or there is none. It is never older than the joins and leaves that were pushed to subscribers here
before it: a client that asks once and follows joins and leaves knows the members.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import translate
from re import compile as compile_pattern
from typing import Final

from proto.control import ActiveChannels, ChannelsFound, CountMembers, Members, MembersCounted, MembersFound
from proto.messages import ClientInfo
from proto.replies import PresenceStatsResult
from services.edge.broker.broker import BrokerAway
from services.edge.channels.channel_registry import ChannelRegistry
from services.edge.channels.member_tracker import MemberTracker
from services.edge.cluster.peers import Peers, PeersAway
from services.edge.yielding import yielding_every

NAMES_AT_ONCE: Final = 50
"""Names that are matched between two turns of the event loop. A pattern of many stars takes 0.06 ms for a long name."""


class Presence:
    """Answers questions about presence. Those about all edges raise `BrokerAway` if an edge does not answer."""

    def __init__(self, peers: Peers, channels: ChannelRegistry, member_tracker: MemberTracker) -> None:
        self._peers = peers
        self._channels = channels
        self._member_tracker = member_tracker

    async def members(self, name: str) -> dict[str, ClientInfo]:
        """The members of a channel on all edges, by client id."""
        found: dict[str, ClientInfo] = {}
        with self._member_tracker.listening(name) as told:
            for answer in await self._ask_all(Members(name)):
                if isinstance(answer, MembersFound):
                    found |= answer.members
        # The edges answered at different moments. Joins and leaves that were pushed meanwhile are newer than an answer.
        for client, info in told.items():
            if info is None:
                found.pop(client, None)
            else:
                found[client] = info
        return found

    async def stats(self, name: str) -> PresenceStatsResult:
        """How many clients and users are in a channel, on all edges."""
        clients, users = 0, set[str]()
        for answer in await self._ask_all(CountMembers(name)):
            if isinstance(answer, MembersCounted):
                clients += answer.clients
                users.update(answer.users)
        return PresenceStatsResult(clients, len(users))

    async def active_channels(self, pattern: str) -> dict[str, int]:
        """The channels with subscribers on any edge, and their number. `pattern` is a glob, "" for all."""
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
        channel = self._channels.get(name)
        return {} if channel is None else channel.subscribers.members()

    async def channels_here(self, pattern: str) -> dict[str, int]:
        """The channels with subscribers on this edge, and their number. Changes during the call may be left out."""
        matches: Callable[[str], object] = compile_pattern(translate(pattern)).match if pattern else lambda name: True
        found: dict[str, int] = {}
        async for channel in yielding_every(self._channels, NAMES_AT_ONCE):
            count = len(channel.subscribers)
            if count and matches(channel.name):
                found[channel.name] = count
        return found
