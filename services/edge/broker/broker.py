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
"""The least number of entries that the index keeps of each channel, about 200 bytes each. It keeps `history_size` + 1
if that is more: if there are as many after a position, something after it was removed."""


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
        """The text for the log. It leaves out a subject that NATS does not permit: the link has logged it, and the next
        attempt may name another."""
        return "NATS does not permit what they need" if self.cause == "refused" else str(self)


class BrokerRefused(Exception):
    """The broker does not accept the call (too large, for example). The same call will not succeed later."""

    def __init__(self, text: str, cause: FailureCause = "refused") -> None:
        super().__init__(text)
        self.cause: FailureCause = cause

    @property
    def for_log(self) -> str:
        """The text."""
        return str(self)


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """A channel, and the history class that keeps its log: "" for a channel without history."""

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
        """Whether the log continues after these entries."""
        return self.left > 0


@dataclass(frozen=True, slots=True)
class LogState:
    """The state of the stream that holds the log of a channel, together with other channels' logs. Entries with
    sequences below `first` may be evicted.

    The stream keeps `limit` entries of each channel, at least as many since the sequence `raised_at`, and `max_bytes`
    of all channels together (-1: no limit).
    """

    epoch: str
    first: int
    last: int
    limit: int
    raised_at: int = 0
    max_bytes: int = -1


class Audit(NamedTuple):
    """What is known of channels whose live messages may have been missed.

    `behind`: the channels whose log goes further than the offset that was asked about, each with the newest offset; 0
    if the epoch has changed. `unknown`: the channels of streams that did not answer, or not completely; `why`: the
    reason.
    """

    behind: dict[ChannelAddress, int]
    unknown: frozenset[ChannelAddress] = frozenset()
    why: str = ""


class Indexed(NamedTuple):
    """What the index of a log says of one channel: its entries after a position, whether or not they are retained.

    `first` is the sequence of the first one, 0 if there is none; `total` is their number. `upto`: the index has read
    the log up to this sequence, and knows nothing of later entries. `whole`: it knows all entries. Otherwise it has
    lost the first ones, or the log had evicted some before the index read them. For positions from `unbroken_since` on,
    the log can only have evicted them by count, so none is missing if there are fewer than the log keeps: since then
    the index has read the log without a break. `named`: the sequences of all that it knows, as far as they were asked
    for.
    """

    first: int
    total: int
    upto: int
    whole: bool = True
    unbroken_since: int = 0
    named: frozenset[int] = frozenset()

    def contradicts(self, first: int, held: int) -> bool:
        """Whether the log holds more than the index knows: the index has lost entries then.

        `first` is the sequence of the first entry that the log holds (0: not known), `held` their number.
        """
        return held > self.total or (0 < first < self.first)


class Retained(NamedTuple):
    """What the log of a channel keeps, as last seen: `size` entries (0: any number), each for `ttl_s` seconds.

    Entries after the sequence `since` were removed only by these limits, or with a mark. `doubts` counts how often
    something else was removed, or may have been. No entries before the sequence `first` are left: all channels of a
    partition share its bytes.
    """

    size: int
    ttl_s: float
    since: int = 0
    doubts: int = 0
    first: int = 0


class KeySearch(NamedTuple):
    """The result of a search for a message id among the entries of a channel that were stored since some time.

    `position`: the position of the entry with this id, None if there is none. `held`: the number of entries up to it,
    or of all. `removed`: one of them marks that the history was removed. `unbroken`: no entry that was stored since
    then was evicted for lack of room.
    """

    position: StreamPosition | None
    held: int
    removed: bool
    unbroken: bool


class LogIndex(Protocol):
    """Knows which entries the channels had, for much longer than the log retains them; finds what was published with a
    message id."""

    @property
    def kept(self) -> bool:
        """Whether there is an index, or will be: false if the messaging system cannot keep one."""

    def retained(self, address: ChannelAddress) -> Retained:
        """What the log really keeps, whatever the settings of this edge say."""

    async def after(
        self, address: ChannelAddress, epoch: str, offset: int, upto: int, named_upto: int = 0, first: int = 0
    ) -> Indexed | None:
        """The channel's entries after `offset`, including those that the log no longer retains. Entries up to
        `named_upto` are named.

        `first` is the first of the entries that the log holds, 0 for none. If there was an earlier one, no others need
        be named.

        The answer is of an index that has read the log at least up to `upto`. Removal marks for entries up to `offset`
        are left out. None if the index cannot tell: it does not reach back that far, or there is none for this epoch of
        the log. Raises `BrokerAway`.
        """

    async def search(self, address: ChannelAddress, message_id: str, since: float) -> KeySearch:
        """Looks for the publication with this id, published after `since`, a time by the broker's clock. Raises
        `BrokerAway`.

        It reads all entries from the log that were stored in the channel since then: only for rare cases.
        """


class BrokerEvents(Protocol):
    """Receives the broker's events. Called in the event loop, for each channel in the order of its log; must not
    block."""

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
        """A log has another epoch; or that was in doubt, and live messages were dropped meanwhile."""


class StreamHealth(Protocol):
    """Which streams can be used. Calls about a channel of any other stream raise `BrokerAway` at once."""

    @property
    def unanswered(self) -> Collection[str]:
        """The streams of logs that did not report their state when they were asked last."""

    @property
    def not_storing(self) -> int:
        """How many streams answer, but do not store."""

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
        """Starts the channel's live messages; they arrive from when it returns. Raises `BrokerAway`.

        A read that begins afterwards sees every publication that does not arrive live.
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
        """Publishes; with history, returns the position once the publication is stored for good.

        If the `message_id` was already published within the duplicate window, nothing is published; with history, the
        first position is returned. With history, a publication whose `version` is not newer than that of the channel's
        newest publication is skipped, and the position of the newest one is returned. The active span (`ACTIVE`)
        travels with the publication. `confirm`: without history, the call returns once the broker has the publication,
        so that no later publish of any edge overtakes it (unless another server of a cluster takes the later one). The
        live message may arrive before this returns. Raises `BrokerAway` (then it is unknown whether it was published:
        retry with the same id), `BrokerRefused`.
        """

    async def publish_past_log(
        self, address: ChannelAddress, publication: Publication, message_id: str = "", confirm: bool = False
    ) -> None:
        """Publishes to a channel with history without storing it: a live message of sequence 0, at most once.

        If the `message_id` was already published in this way within 5 minutes, nothing is published; `confirm` as
        above.
        Raises `BrokerAway`, `BrokerRefused`.
        """

    async def remove_history(self, address: ChannelAddress) -> None:
        """Removes the log of a channel. A mark in its place shows clients that recover that something is missing.

        Raises `BrokerAway`, `BrokerRefused`.
        """

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> LogPage:
        """Up to `limit` entries of the log of a channel, from `from_offset` (inclusive) on. Raises `BrokerAway`.

        The page ends once it has `READ_BYTES`, but has at least one entry if there is any.
        """

    async def newest(self, address: ChannelAddress) -> LogEntry | None:
        """The newest retained entry of the log of a channel, None for none. Raises `BrokerAway`."""

    async def state(self, address: ChannelAddress) -> LogState:
        """The state of the log that holds a channel with history, not older than the call. Raises `BrokerAway`."""

    def epoch(self, address: ChannelAddress) -> str:
        """The epoch of the channel's log as last seen."""

    def continued(self, address: ChannelAddress, position: StreamPosition) -> StreamPosition:
        """Translates a position of an earlier epoch to the present one if the log continues from there; otherwise
        returns it unchanged."""

    async def audit(self, positions: dict[ChannelAddress, int]) -> Audit:
        """Which open channels have a log that goes further than the given offset.

        This finds the loss of a channel's last live message, which no later message reveals. After a loss of the
        connection it also names, with the log's last sequence, the channels of which publications may have come and
        been evicted while this edge could not hear them: the log's sequences tell what was missed, not the length of
        the loss. A stream that does not answer does not hold up the others. Raises `BrokerAway`.
        """
