"""What the edge needs from a message broker, and what it may rely on. Implementations: `broker_nats`, `broker_memory`.

`tests/contract/broker.py` holds every implementation to what is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from proto.messages import Publication, StreamPosition
from proto.publications import LiveMessage, Version

MAX_DUPLICATE_WINDOW_S: Final = 300.0
"""How long an idempotency key is remembered, unless the history itself is shorter."""


class BrokerAway(Exception):
    """The broker cannot be reached, or did not answer in time. The same call may succeed later."""


class BrokerRefused(Exception):
    """The broker will not take this (too large, say). The same call will not succeed later."""


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """A channel, and the history class whose log it is kept in: "" for a channel without history."""

    channel: str
    history_class: str = ""


class LogEntry(NamedTuple):
    """One place of a channel's log. `publication` is None when what stands there is no publication.

    `removed_upto`: what stands there is the mark that the history up to this sequence was removed.
    """

    sequence: int
    publication: Publication | None
    removed_upto: int = 0


@dataclass(frozen=True, slots=True)
class LogPage:
    """A gapless piece of a channel's log, oldest first. `more`: the log goes on behind it."""

    entries: list[LogEntry]
    more: bool


@dataclass(frozen=True, slots=True)
class LogState:
    """The log that a channel shares with others. Every sequence below `first` may have been evicted."""

    epoch: str
    first: int
    last: int


class BrokerEvents(Protocol):
    """Whom the broker tells. Called in the event loop, in the order of the log for each channel; must not block."""

    def live(self, channel: str, message: LiveMessage) -> None:
        """A message of an open channel with history."""

    def ephemeral(self, channel: str, publication: Publication) -> None:
        """A publication of an open channel without history."""

    def broker_connected(self) -> None:
        """The broker is there (again). Live messages may have been missed since `broker_disconnected`."""

    def broker_disconnected(self) -> None:
        """The connection dropped. What is in flight has failed."""


class Broker(Protocol):
    """Order: all edges see one channel's publications in the order of their offsets. Delivery of `live` messages is at
    most once, and messages may be missing when the broker was away: who needs all of them reads the log.
    """

    @property
    def available(self) -> bool:
        """Whether calls have a chance now."""

    async def open(self, address: ChannelAddress) -> None:
        """Starts the channel's live messages; when it returns they are on. Raises `BrokerAway`.

        A read that is asked for afterwards sees whatever they do not bring.
        """

    def close(self, address: ChannelAddress) -> None:
        """Ends them."""

    async def publish(
        self, address: ChannelAddress, publication: Publication, message_id: str = "", version: Version | None = None
    ) -> StreamPosition | None:
        """Publishes, and with history returns the position once the publication is stored for good.

        A `message_id` that was published within the duplicate window is not published again; with history its first
        position is returned. With history a `version` that is not newer than the channel's newest publication's is left
        out, and the newest position is returned. The live message may arrive before this returns. Raises `BrokerAway`
        (then it is unknown whether it was stored: retry with the same id), `BrokerRefused`.
        """

    async def publish_past_log(self, address: ChannelAddress, publication: Publication, message_id: str = "") -> None:
        """Publishes to a channel with history without storing it: a live message of sequence 0, at most once.

        A `message_id` that was published so within 5 minutes is not published again. Raises `BrokerAway`,
        `BrokerRefused`.
        """

    async def remove_history(self, address: ChannelAddress) -> None:
        """Removes the log of a channel. A mark in its place tells whoever comes back that something is missing.

        Raises `BrokerAway`, `BrokerRefused`.
        """

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> LogPage:
        """Up to `limit` entries of the log of a channel, from `from_offset` (inclusive) on. Raises `BrokerAway`."""

    async def newest(self, address: ChannelAddress) -> LogEntry | None:
        """The newest retained entry of the log of a channel, None for none. Raises `BrokerAway`."""

    async def state(self, address: ChannelAddress) -> LogState:
        """The state of the log that holds a channel with history, not older than the call. Raises `BrokerAway`."""

    def epoch(self, address: ChannelAddress) -> str:
        """The epoch of the channel's log as last seen."""

    async def behind(self, positions: dict[ChannelAddress, int]) -> dict[ChannelAddress, int]:
        """Of open channels and the offsets they are known up to, those whose log goes further, or whose epoch changed.

        With how far it goes, 0 for another epoch. The audit behind a lost last message, which has no successor to
        reveal it. Raises `BrokerAway`.
        """
