"""What an edge needs from a message broker, and may rely on. Implementations: `broker_nats`, `broker_memory`.

`tests/contract/broker.py` holds every implementation to what is written here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from proto.messages import Publication, StreamPosition
from proto.publications import LiveMessage, Version
from proto.trace_context import TraceContext

MAX_DUPLICATE_WINDOW_S: Final = 300.0
"""How long an idempotency key is remembered, unless the history itself is shorter."""

READ_BYTES: Final = 256 * 1024
"""Bytes of one read of a log, give or take an entry: a few milliseconds of work for the edge."""
INDEXED_ENTRIES: Final = 128
"""Entries of each channel in the index at least, about 200 bytes each. One more than `history_size`, if that is more:
as many after a position mean that something after it was removed."""


FailureCause = Literal["away", "timeout", "busy", "full", "storage", "too_large", "refused"]
"""Why a call failed, as metrics count it. "away": there is no connection, or nobody answers; "timeout": no answer in
time; "busy": too many calls wait already; "full": the history is at its own limit of bytes; "storage": the broker does
not store, for lack of space or because its disk fails; "too_large"; "refused": for any other reason. The causes of NATS
(`chassis.nats.errors.Cause`) are among these: mypy checks it where one becomes the other."""


class BrokerAway(Exception):
    """The broker cannot be reached, or did not answer in time. The same call may succeed later."""

    def __init__(self, text: str, cause: FailureCause = "away") -> None:
        super().__init__(text)
        self.cause: FailureCause = cause

    @property
    def for_log(self) -> str:
        """The text, without a subject if NATS does not permit one: the link has named it, and next comes another."""
        return "NATS does not permit what they need" if self.cause == "refused" else str(self)


class BrokerRefused(Exception):
    """The broker does not accept this (too large, for example). The same call will not succeed later."""

    def __init__(self, text: str, cause: FailureCause = "refused") -> None:
        super().__init__(text)
        self.cause: FailureCause = cause

    @property
    def for_log(self) -> str:
        """The text."""
        return str(self)


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """A channel, and the history class whose log it is kept in: "" for a channel without history."""

    channel: str
    history_class: str = ""


class LogEntry(NamedTuple):
    """One entry of a channel's log. `publication` is None for an entry that is not a publication.

    `removed_upto`: the entry marks that the history up to this sequence was removed; 0 for any other entry.
    `published_at`, `trace`: see `LiveMessage`.
    """

    sequence: int
    publication: Publication | None
    removed_upto: int = 0
    published_at: float = 0.0
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class LogPage:
    """Successive entries of a channel's log, oldest first. `left` is the number of entries that follow."""

    entries: list[LogEntry]
    left: int

    @property
    def more(self) -> bool:
        """Whether the log continues after them."""
        return self.left > 0


@dataclass(frozen=True, slots=True)
class LogState:
    """The stream that holds the log of a channel, and those of others. Sequences below `first` may be evicted.

    It keeps `limit` entries of a channel, and no less since the sequence `raised_at`, and `max_bytes` of all (-1: any).
    """

    epoch: str
    first: int
    last: int
    limit: int
    raised_at: int = 0
    max_bytes: int = -1


class Audit(NamedTuple):
    """What is known of channels whose live messages may have been missed.

    `behind`: those whose log goes further than the offset that was asked about, each with the newest offset; 0 if the
    epoch has changed. `unknown`: those of streams that did not answer, of which it says nothing or not all; `why` not.
    """

    behind: dict[ChannelAddress, int]
    unknown: frozenset[ChannelAddress] = frozenset()
    why: str = ""


class Indexed(NamedTuple):
    """What the index of a log says of one channel: its entries after a position, whether or not they are retained.

    `first` is the sequence of the first one, 0 if there is none; `total` is their number. `upto`: the index has read
    the log up to here, so of later entries it knows nothing. `whole`: it knows all of them. Otherwise it has lost the
    first ones, or the log had evicted some before the index read them. That was by count, and so not if they are fewer
    than the log keeps, for positions not before `unbroken_since`: since then the index has been read without a break.
    `named`: the sequences of all that it knows, as far as they were asked for.
    """

    first: int
    total: int
    upto: int
    whole: bool = True
    unbroken_since: int = 0
    named: frozenset[int] = frozenset()

    def contradicts(self, first: int, held: int) -> bool:
        """Whether the log holds more than the index knows, which has lost entries then.

        `first` is the sequence of the first entry that the log holds (0: not known), `held` their number.
        """
        return held > self.total or (0 < first < self.first)


class Retained(NamedTuple):
    """What the log of a channel keeps, as last seen: `size` entries of it (0: any number), each for `ttl_s` seconds.

    Of what came after the sequence `since` nothing was removed but by these limits, or with a mark. `doubts` counts how
    often something else was, or may have been. Nothing from before the sequence `first` is left: all channels of a
    partition share its bytes.
    """

    size: int
    ttl_s: float
    since: int = 0
    doubts: int = 0
    first: int = 0


class KeySearch(NamedTuple):
    """What was found of a message id among the entries of a channel that were stored since some time.

    `position`: where it is, None if it is not there. `held`: the entries until there, or all. `removed`: one of them
    marks that the history was removed. `unbroken`: nothing that was stored since then went for lack of room.
    """

    position: StreamPosition | None
    held: int
    removed: bool
    unbroken: bool


class LogIndex(Protocol):
    """Which entries the channels had, for much longer than they are retained; and what was published with an id."""

    @property
    def kept(self) -> bool:
        """Whether there is an index, or will be: false if the messaging system cannot keep one."""

    def retained(self, address: ChannelAddress) -> Retained:
        """What the log itself keeps, whatever this edge is configured to."""

    async def after(
        self, address: ChannelAddress, epoch: str, offset: int, upto: int, named_upto: int = 0, first: int = 0
    ) -> Indexed | None:
        """The channel's entries after `offset`, also those that are no longer retained; by name up to `named_upto`.

        `first` is the first of them that the log holds, 0 for none. If there was an earlier one, no others are named.

        The index has read the log up to `upto` at least. Marks of what was removed before are left out. None if the
        index cannot tell: it does not reach back that far, or there is none for this epoch of the log. Raises
        `BrokerAway`.
        """

    async def search(self, address: ChannelAddress, message_id: str, since: float) -> KeySearch:
        """Looks for what was published with this id after `since`, a time by the broker's clock. Raises `BrokerAway`.

        It reads the log itself, and of it all that was stored in the channel since then: for what happens rarely.
        """


class BrokerEvents(Protocol):
    """Takes the broker's events. Called in the event loop, for each channel in the order of its log; must not block."""

    def live(self, channel: str, message: LiveMessage) -> None:
        """A message of an open channel with history."""

    def ephemeral(
        self, channel: str, publication: Publication, published_at: float = 0.0, trace: TraceContext | None = None
    ) -> None:
        """A publication of an open channel without history. `published_at`, `trace`: see `LiveMessage`."""

    def broker_connected(self) -> None:
        """The broker is available (again). Live messages may have been missed since `broker_disconnected`."""

    def broker_disconnected(self) -> None:
        """The connection dropped. Calls in progress have failed."""

    def logs_checked(self) -> None:
        """A log has another epoch; or it was in doubt whether it has, and live messages were dropped meanwhile."""


class StreamHealth(Protocol):
    """Which streams can be used. Calls about a channel of another one raise `BrokerAway` at once."""

    @property
    def unanswered(self) -> Collection[str]:
        """The streams holding logs that did not tell their state when they were asked last."""

    @property
    def not_storing(self) -> int:
        """How many streams answer, and do not store."""

    def unavailable(self) -> Counter[tuple[str, str]]:
        """How many streams cannot be used, by namespace ("" for those of no namespace) and kind: "history", "keys" of
        idempotent publishes, or "marks"."""

    def answers(self, address: ChannelAddress) -> bool:
        """Whether the channel can be used: a channel without history always."""

    def remark(self) -> str | None:
        """Which streams cannot be used, and why, for the operator; None if all can."""


class AllWell:
    """Streams that can always be used."""

    unanswered: frozenset[str] = frozenset()
    not_storing = 0

    def unavailable(self) -> Counter[tuple[str, str]]:
        """None."""
        return Counter()

    def answers(self, address: ChannelAddress) -> bool:
        """Always."""
        return True

    def remark(self) -> str | None:
        """Nothing."""
        return None


class Broker(Protocol):
    """Stores publications, and delivers them to the edges.

    Order: all edges see one channel's publications in the order of their offsets. `live` messages are delivered at most
    once, and some may be missing after the broker was unavailable: to have all of them, read the log.
    """

    @property
    def available(self) -> bool:
        """Whether calls can succeed now."""

    @property
    def health(self) -> StreamHealth:
        """Which of the streams behind the logs can be used."""

    @property
    def index(self) -> LogIndex:
        """The index of the logs."""

    def now(self) -> float:
        """The time by the broker's clock, in seconds: what `LiveMessage.published_at` is compared with."""

    async def open(self, address: ChannelAddress) -> None:
        """Starts the channel's live messages, which are on when it returns. Raises `BrokerAway`.

        A read that begins afterwards sees every publication that they do not bring.
        """

    def close(self, address: ChannelAddress) -> None:
        """Ends the channel's live messages."""

    async def publish(
        self,
        address: ChannelAddress,
        publication: Publication,
        message_id: str = "",
        version: Version | None = None,
        confirm: bool = False,
    ) -> StreamPosition | None:
        """Publishes, and with history returns the position once the publication is stored for good.

        A `message_id` that was published within the duplicate window is not published again; with history its first
        position is returned. With history, a publication whose `version` is not newer than that of the channel's newest
        one is skipped, and the newest position is returned. The active span (`ACTIVE`) travels with the publication.
        `confirm`: without history, it returns once the broker has
        the publication, so that no later publish of any edge overtakes it (unless another server of a cluster takes
        that one). The live message may arrive before this returns. Raises `BrokerAway` (then it is unknown whether it
        was published: retry with the same id), `BrokerRefused`.
        """

    async def publish_past_log(
        self, address: ChannelAddress, publication: Publication, message_id: str = "", confirm: bool = False
    ) -> None:
        """Publishes to a channel with history without storing it: a live message of sequence 0, at most once.

        A `message_id` that was published in this way within 5 minutes is not published again; `confirm` as above.
        Raises `BrokerAway`, `BrokerRefused`.
        """

    async def remove_history(self, address: ChannelAddress) -> None:
        """Removes the log of a channel. A mark in its place shows clients that recover that something is missing.

        Raises `BrokerAway`, `BrokerRefused`.
        """

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> LogPage:
        """Up to `limit` entries of the log of a channel, from `from_offset` (inclusive) on. Raises `BrokerAway`.

        They are fewer once they have `READ_BYTES`, but at least one if there is any.
        """

    async def newest(self, address: ChannelAddress) -> LogEntry | None:
        """The newest retained entry of the log of a channel, None for none. Raises `BrokerAway`."""

    async def state(self, address: ChannelAddress) -> LogState:
        """The state of the log that holds a channel with history, not older than the call. Raises `BrokerAway`."""

    def epoch(self, address: ChannelAddress) -> str:
        """The epoch of the channel's log as last seen."""

    def continued(self, address: ChannelAddress, position: StreamPosition) -> StreamPosition:
        """A position of an earlier epoch in the present one, if the log goes on from there in it; or as it is."""

    async def audit(self, positions: dict[ChannelAddress, int]) -> Audit:
        """Which open channels have a log that goes further than the given offset.

        This finds the loss of a channel's last live message, which no later message reveals. After a loss of the
        connection it also names, with the log's last sequence, the channels of which publications may have come and
        been evicted while this edge could not hear them. How much it missed is what the log's sequences say, however
        long it took. A stream that does not answer keeps back nothing of the others. Raises `BrokerAway`.
        """
