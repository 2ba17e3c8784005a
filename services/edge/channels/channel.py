"""A channel that is open on this edge: its subscribers here, its log if it has history, its members elsewhere."""

from __future__ import annotations

import asyncio

from proto.messages import Publication
from services.edge.channels.channel_log import ChannelLog, Rings
from services.edge.channels.delivery import Delivery
from services.edge.channels.delivery_times import NOT_MEASURED, Deliveries
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.pace import Pace
from services.edge.channels.remote_members import RemoteMembers
from services.edge.channels.subscribers import Subscribers
from services.edge.channels.subscription import Subscription


class Channel:
    """The state of one open channel. Made by `ChannelRegistry`; opened and kept up to date by `ChannelSync`.

    `users` counts subscribers and operations in progress; at 0 the channel may be closed. `ready`: its live messages
    are on and the position of its log is known. `remote_members` exists while a subscriber here gets joins and leaves,
    and is complete once `remote_members_known`. `pace` is shared by the fan-outs of all channels; `deliveries` is
    called when publications are written. `rings` counts what the channel's ring holds.
    """

    __slots__ = (
        "address",
        "closed",
        "idle_since",
        "log",
        "member_task",
        "open_task",
        "ready",
        "remote_members",
        "remote_members_known",
        "rules",
        "subscribers",
        "sync_task",
        "users",
    )

    def __init__(
        self,
        name: str,
        rules: ChannelRules,
        pace: Pace,
        deliveries: Deliveries = NOT_MEASURED,
        rings: Rings | None = None,
    ) -> None:
        self.rules = rules
        self.address = rules.address(name)
        self.log = ChannelLog(rings) if rules.has_history else None
        self.subscribers = Subscribers(name, pace, deliveries)
        self.closed = False  # a channel that was closed is not used again: the next user gets a new one
        self.users = 0
        self.idle_since = 0.0
        self.ready = False
        self.open_task: asyncio.Task[str] | None = None  # until the channel is ready
        self.sync_task: asyncio.Task[None] | None = None
        self.remote_members: RemoteMembers | None = None
        self.remote_members_known = False
        self.member_task: asyncio.Task[str] | None = None  # until the remote members are known

    @property
    def name(self) -> str:
        """The channel's name."""
        return self.address.channel

    def fits(self, rules: ChannelRules) -> bool:
        """Whether a subscription with these rules may join this channel as it was opened."""
        return rules is self.rules or rules.has_history == self.rules.has_history

    @property
    def is_open(self) -> bool:
        """Whether it can be subscribed to without waiting for the broker."""
        return self.ready and not self.closed

    def delivered_offset(self, subscription: Subscription) -> int:
        """The offset up to which a subscriber was sent everything: behind the log's while publications wait."""
        assert self.log is not None
        offset = self.subscribers.delivered_offset(subscription)
        return self.log.last if offset is None else offset

    def fan_out(
        self,
        publication: Publication,
        previous: Publication | None = None,
        published_at: float = 0.0,
        delivery: Delivery | None = None,
    ) -> None:
        """Hands a publication to all subscribers here; `previous` is the channel's previous one, if that is known.

        `delivery` traces it.
        """
        if self.subscribers:
            log = self.log
            delivered_offset = 0 if log is None else log.before if publication.offset else log.last
            self.subscribers.fan_out(publication, previous, delivered_offset, published_at, delivery)
