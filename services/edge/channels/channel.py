"""A channel that is open on this edge: its subscribers here, its log if it has history, its members elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proto.messages import Publication
from services.edge.broker.broker import ChannelAddress
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.remote_members import RemoteMembers
from services.edge.channels.subscribers import Subscribers


class Channel:
    """See the module. `users` counts subscribers and operations under way; at 0 the channel may be closed."""

    __slots__ = (
        "address",
        "closed",
        "idle_since",
        "log",
        "opened",
        "remote_members",
        "remote_members_known",
        "rules",
        "subscribers",
        "sync_task",
        "users",
    )

    def __init__(self, name: str, rules: ChannelRules) -> None:
        self.rules = rules
        self.address = ChannelAddress(name, rules.history_class if rules.has_history else "")
        self.log = ChannelLog() if rules.has_history else None
        self.subscribers = Subscribers(name, _at_end_of_turn)
        self.closed = False  # a channel that was closed is not used again: the next user gets a new one
        self.users = 0
        self.idle_since = 0.0
        self.opened: asyncio.Future[None] | None = None  # done when the log's position is known
        self.sync_task: asyncio.Task[None] | None = None
        self.remote_members: RemoteMembers | None = None  # while a subscriber here gets joins and leaves
        self.remote_members_known: asyncio.Future[None] | None = None  # done when they are known

    @property
    def name(self) -> str:
        return self.address.channel

    @property
    def is_open(self) -> bool:
        """Whether it is live and its position known, so that nobody has to wait for it."""
        return self.opened is not None and self.opened.done() and not self.closed

    @property
    def knows_remote_members(self) -> bool:
        """Whether the members on other edges are known."""
        return self.remote_members_known is not None and self.remote_members_known.done()

    @property
    def delivered_offset(self) -> int:
        """The offset up to which the subscribers have been given everything: behind the log's while something waits."""
        assert self.log is not None
        return self.subscribers.delivered_offset if self.subscribers.has_pending else self.log.last

    def fan_out(self, publication: Publication, previous: Publication | None = None) -> None:
        """Gives a publication to all subscribers here; `previous` is the channel's one before it, if that is known."""
        if self.subscribers:
            log = self.log
            delivered_offset = 0 if log is None else log.before if publication.offset else log.last
            self.subscribers.fan_out(publication, previous, delivered_offset)


def _at_end_of_turn(flush: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(flush)
