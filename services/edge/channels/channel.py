"""A channel as one edge has it open: its audience here, its log if it keeps history, who is in it on other edges."""

from __future__ import annotations

import asyncio

from proto.messages import Publication
from services.edge.broker.broker import ChannelAddress
from services.edge.channels.audience import Audience
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.namespaces import Rules
from services.edge.channels.roster import Roster


class Channel:
    """See the module. `users` counts subscribers and operations under way; at 0 the channel may be closed."""

    __slots__ = (
        "address",
        "audience",
        "closed",
        "idle_since",
        "log",
        "opened",
        "roster",
        "roster_known",
        "rules",
        "sync_task",
        "users",
    )

    def __init__(self, name: str, rules: Rules) -> None:
        self.rules = rules
        self.address = ChannelAddress(name, rules.history_class if rules.has_history else "")
        self.log = ChannelLog() if rules.has_history else None
        self.audience = Audience(name)
        self.closed = False  # a channel that was closed is not used again: the next user gets a new one
        self.users = 0
        self.idle_since = 0.0
        self.opened: asyncio.Future[None] | None = None  # done when the log's position is known
        self.sync_task: asyncio.Task[None] | None = None
        self.roster: Roster | None = None  # while somebody here is told of joins and leaves
        self.roster_known: asyncio.Future[None] | None = None  # done when it holds the other edges' members

    @property
    def name(self) -> str:
        return self.address.channel

    def fan_out(self, publication: Publication, previous: Publication | None = None) -> None:
        """Gives a publication to all subscribers here; `previous` is the channel's one before it, if that is known."""
        if self.audience:
            self.audience.fan_out(publication, previous)
