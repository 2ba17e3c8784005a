"""A channel as one edge has it open: its subscribers here, its log if it keeps history, and the fan-out to them."""

from __future__ import annotations

import asyncio
from typing import Protocol

from proto.codec import encode_publication_push
from proto.codes import UnsubscribeCode
from proto.messages import Publication
from services.edge.broker import ChannelAddress
from services.edge.channel_log import ChannelLog
from services.edge.namespaces import Rules
from services.edge.wire import TEXT, frame


class Subscriber(Protocol):
    """What a channel knows of a connection."""

    def push(self, framed: bytes, channel: Channel) -> None:
        """Takes one framed push, or notes that it cannot: never blocks, never raises."""

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        """Tells the client that the server ended its subscription."""


class Channel:
    """See the module. `users` counts subscribers and operations under way; at 0 the channel may be closed."""

    __slots__ = ("address", "closed", "idle_since", "log", "opened", "rules", "subscribers", "sync_task", "users")

    def __init__(self, name: str, rules: Rules) -> None:
        self.rules = rules
        self.address = ChannelAddress(name, rules.history_class if rules.has_history else "")
        self.log = ChannelLog() if rules.has_history else None
        self.subscribers: dict[Subscriber, bool] = {}  # whether they rely on positions
        self.closed = False  # a channel that was closed is not used again: the next user gets a new one
        self.users = 0
        self.idle_since = 0.0
        self.opened: asyncio.Future[None] | None = None  # done when the log's position is known
        self.sync_task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.address.channel

    def fan_out(self, publication: Publication) -> None:
        """Gives a publication to all subscribers: encoded once, framed once, in one synchronous loop."""
        if not self.subscribers:
            return
        framed = frame(TEXT, encode_publication_push(self.name, publication))
        # A copy: a write may end a connection, which leaves the dict.
        for subscriber in tuple(self.subscribers):
            subscriber.push(framed, self)
