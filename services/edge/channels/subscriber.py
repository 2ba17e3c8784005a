"""A client as its channels see it, which write to it."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from proto.codes import CloseCode, UnsubscribeCode
from services.chassis.tracing.span import Attributes
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import Format


class Untaken(NamedTuple):
    """A push that was not written: the client catches up later, or misses it. `close`: its connection has to end."""

    close: CloseCode | None = None
    why: str = ""


SKIPPED: Final = Untaken()


class Owner(Protocol):
    """The connection that a subscriber writes to. `close` and `end_subscription` act at once; no fan-out calls them."""

    def close(self, close: CloseCode, detail: str = "") -> None:
        """Ends the connection; `detail` is for the log."""

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        """Ends one subscription, and sends the client an unsubscribe push."""

    def labels(self) -> tuple[str, str]:
        """Transport and library, by which metrics tell clients apart."""

    def described(self) -> Attributes:
        """The client as traces describe it, and whether it is slow now."""


class Subscriber(Protocol):
    """A client to which a channel writes. A write never blocks, raises, or closes: it returns a close that is due."""

    format: Format

    @property
    def owner(self) -> Owner:
        """The connection that it writes to."""

    @property
    def closed(self) -> bool:
        """Whether nothing is written any more."""

    def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
        """Writes a frame of `count` pushes; None if it was written."""

    def push_member_events(self, channel: str, framed: bytes, count: int) -> Untaken | None:
        """Writes a frame of `count` joins and leaves. No log stores them, so they are held for a slow client."""

    def left_out(self, count: int) -> None:
        """Counts pushes that the client does not get, as its encoding cannot carry them."""
