"""The rows of the read models in memory, as the folds make them.

Times are in Unix milliseconds. Texts are cut to what a PostgreSQL index can hold, and have no NUL, which PostgreSQL
cannot store. Rows consist of texts and numbers only, so the garbage collector need not track them.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from proto.events import OfConnection, Refused

MAX_ID = 64
"""Characters of a connection's or instance's name: a UUID that we make."""

MAX_TEXT = 512
"""Characters of a name that others choose; at four bytes each it still fits an index entry (2,704 bytes)."""

MAX_LABEL_BYTES = 192
"""Bytes of a short name: three of them fit into an index entry beside one text of `MAX_TEXT` characters."""

MAX_TIME = 253_370_764_800_000  # the year 9999, the last that Python's and PostgreSQL's dates agree on

MAX_CODE = 2**31 - 1

EDGE_LOST_CODE = 1006
EDGE_LOST_REASON = "edge lost"


class Session(Struct, gc=False):
    """A client's stay, over one or more connections. `connection` is the current or last of them, `address` is its
    address; if there were several, `connected_at` is when it was opened.

    While it is connected, `ended_at`, `away_until` and `end_code` are None. A connection of the same `lineage` may
    continue it until `away_until` (see `values.lineage_of`); without a lineage it cannot be continued.
    """

    id: str
    user: str
    session_key: str
    client_name: str
    client_version: str
    edge: str
    instance: str
    connection: str
    connections: int
    opened_at: int
    lineage: str | None
    ended_at: int | None = None
    away_until: int | None = None
    end_code: int | None = None
    end_reason: str = ""
    end_by: str = ""
    address: str = ""
    connected_at: int | None = None


class Connection(Struct, gc=False):
    """One client connection. `closed_at` and `close_code` are None while it is open. It has the properties of its
    client that may change within a session, `client_version` and `address`. Its session has the others."""

    id: str
    session_id: str
    edge: str
    instance: str
    opened_at: int
    closed_at: int | None = None
    close_code: int | None = None
    close_reason: str = ""
    close_by: str = ""
    client_version: str = ""
    address: str = ""

    @property
    def was_lost(self) -> bool:
        """Whether it closed only because its edge counts as lost: the edge may know better, or be found."""
        return self.close_code == EDGE_LOST_CODE and self.close_reason == EDGE_LOST_REASON


class Subscription(Struct, gc=False):
    """A stay of a connection in a channel. The connection may have been there several times, each time with another
    `since`.

    `until` is None if the stay did not end by itself: it lasts, or lasted, as long as the connection. `opened_at` is
    when the connection was opened: so all rows of a connection are in partitions of the same time.
    """

    connection: str
    channel: str
    opened_at: int
    since: int
    until: int | None = None
    recovered: bool | None = None


class TimelineEntry(Struct):
    """The facts about one connection in one batch of the log. `number` is the number of the batch, counted by the
    connection's edge; `at` is the time of the first fact. Facts of the same connection and number are added to the
    stored ones."""

    connection: str
    number: int
    at: int
    facts: list[OfConnection | Refused]


class UserDevice(Struct, gc=False):
    """What one device of a user did: a device is a session key, a client name and a version. Counts and times are added
    to the stored row."""

    user: str
    session_key: str
    client_name: str
    client_version: str
    first_seen: int
    last_seen: int
    sessions: int = 0
    connections: int = 0


Step = tuple[int, int]
"""A moment, and how many were subscribed from then on."""

Steps = tuple[Step, ...]
"""How peaks were reached (see `peaks`). The first step is the highest of all time before the others. Then come the
steps of each hour, in the order of time: the first is the hour's beginning, unless it was forgotten; each of the others
is higher than the one before. Empty if the latest hour is not followed."""


class Channel(Struct, gc=False):
    """A channel: the number of subscribers now, their peak of all time and its moment, and the number of subscriptions
    ever."""

    name: str
    subscribers: int
    peak: int
    peak_at: int
    subscriptions: int
    first_at: int
    last_at: int
    steps: Steps = ()


class ChannelHour(Struct, gc=False):
    """A channel in one hour in which its subscribers changed: their peak, their number at the end (as far as folded),
    and the number of subscriptions. `hour` is the beginning of the hour.

    It is added to the stored row: the greater peak stays, `last` is replaced, and `subscriptions` are added. Before
    that the stored peak is lowered if `State.lowered_hours` says so.
    """

    channel: str
    hour: int
    peak: int
    last: int
    subscriptions: int


class Refusal(Struct, gc=False):
    """A refusal of a client, or a sum of refusals, as an edge wrote it (`proto.events.Refused`)."""

    at: int
    edge: str
    instance: str
    action: str
    code: int
    reason: str
    connection: str
    user: str
    channel: str
    client_name: str
    client_version: str
    address: str
    transport: str
    user_agent: str
    origin: str
    count: int


class Edge(Struct, gc=False):
    """One run of an edge process. Moments that did not come, or are not known, are None; `ended`: how many of its
    connections were closed, for whatever reason.

    `lost_at`: when it was heard for the last time, if it counts as dead. If it is heard again, it hung, or was cut off:
    from `hung_at`, which is what `lost_at` was, to `found_at`. These are the moments of the last time, and
    `times_hung` says how many times there were. `hung_at` is None if the log does not have the loss.
    """

    instance: str
    edge: str
    software: str = ""
    first_at: int = 0
    last_at: int = 0
    started_at: int | None = None
    draining_at: int | None = None
    stopped_at: int | None = None
    lost_at: int | None = None
    opened: int = 0
    ended: int = 0
    hung_at: int | None = None
    found_at: int | None = None
    times_hung: int = 0


MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
WIDTHS = (MINUTE_MS, HOUR_MS, DAY_MS)
"""Counts are kept by minute, by hour and by day (of UTC): so a long period takes few rows, and still has whole
minutes."""


class DropKey(NamedTuple):
    """What ends of connections are counted by: the ends in the `width` milliseconds from `at` on."""

    width: int
    at: int
    edge: str
    code: int
    by: str
    client_name: str
    client_version: str


class OpeningKey(NamedTuple):
    """What opened connections are counted by. `resumed`: they continued a session."""

    width: int
    at: int
    edge: str
    client_name: str
    client_version: str
    resumed: bool


class RefusalKey(NamedTuple):
    """What refusals are counted by."""

    width: int
    at: int
    edge: str
    action: str
    code: int
