"""A channel as one edge has it open: its audience here, its log if it keeps history, who is in it on other edges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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
        self.audience = Audience(name, _at_end_of_turn)
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

    @property
    def is_open(self) -> bool:
        """Whether it is live and its position known, so that nobody has to wait for it."""
        return self.opened is not None and self.opened.done() and not self.closed

    @property
    def knows_its_members(self) -> bool:
        """Whether the roster holds the other edges' members."""
        return self.roster_known is not None and self.roster_known.done()

    @property
    def told(self) -> int:
        """The offset up to which the subscribers have been given everything: behind the log's while something waits."""
        assert self.log is not None
        return self.audience.told if self.audience.waits else self.log.last

    def fan_out(self, publication: Publication, previous: Publication | None = None) -> None:
        """Gives a publication to all subscribers here; `previous` is the channel's one before it, if that is known."""
        if self.audience:
            log = self.log
            told = 0 if log is None else log.before if publication.offset else log.last
            self.audience.fan_out(publication, previous, told)


def _at_end_of_turn(flush: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(flush)
