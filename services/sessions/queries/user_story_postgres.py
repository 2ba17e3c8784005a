"""Why a user dropped: the ends of their connections, with what came before and after each; and their refusals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from proto.events import BY_NETWORK, Closed, Subscribed, is_resumable
from services.chassis.postgres.pool import Database, Pool
from services.sessions.queries.edges_postgres import EdgeRun, Edges
from services.sessions.queries.end_facts_postgres import beginnings, closings
from services.sessions.queries.periods import Period
from services.sessions.queries.refusals_postgres import RefusalCounts, RefusedClient
from services.sessions.queries.timeline_postgres import ConnectionLife
from services.sessions.values import identity, time_of

MAX_SESSIONS: Final = 500
MAX_CONNECTIONS: Final = 2000
_ANSWERS_WITHIN: Final = timedelta(minutes=5)
"""A client that is not heard for longer is never heard: one-way streams of SSE and HTTP answer no pings."""
_AFTER: Final = 50
"""Sessions after the period that are searched for the return of a client."""

_FIELDS: Final = "id, session_key, client_name, opened_at, ended_at, away_until"

# The sessions of the period, and the first ones after it, in which a client may have come back. For sessions that were
# opened before the period, the index by user tells which had not ended: the others are not read.
_SESSIONS: Final = f"""
SELECT {_FIELDS}, true AS during FROM (
    (SELECT {_FIELDS} FROM sessions WHERE user_id = $1 AND opened_at >= $2 AND opened_at < $3
        ORDER BY opened_at DESC, id DESC LIMIT $4)
    UNION ALL (
        SELECT s.* FROM (
            SELECT id, opened_at FROM sessions
            WHERE user_id = $1 AND opened_at < $2 AND (ended_at IS NULL OR ended_at >= $2)
            ORDER BY opened_at DESC, id DESC LIMIT $4
        ) AS lasting CROSS JOIN LATERAL (
            SELECT {_FIELDS} FROM sessions WHERE id = lasting.id AND opened_at = lasting.opened_at OFFSET 0) AS s)
    ORDER BY opened_at DESC, id DESC LIMIT $4) AS period
UNION ALL SELECT {_FIELDS}, false FROM (
    SELECT {_FIELDS} FROM sessions WHERE user_id = $1 AND opened_at >= $3
    ORDER BY opened_at, id LIMIT {_AFTER}) AS later"""

# Connections are looked for in the partitions of their session's time, and of a day more, as clocks of edges may
# differ.
_CONNECTIONS: Final = """
SELECT c.* FROM unnest($1::text[], $4::timestamptz[], $5::timestamptz[]) AS s(id, opened_at, ended_at)
CROSS JOIN LATERAL (
    SELECT session_id, id, edge, instance, client_version, address, opened_at, closed_at, close_code, close_reason,
        close_by
    FROM connections
    WHERE session_id = s.id AND opened_at >= s.opened_at - '24:00:00'::interval
        AND opened_at <= COALESCE(s.ended_at + '24:00:00'::interval, 'infinity')
        AND (closed_at IS NULL OR closed_at >= $2)
    OFFSET 0
) AS c
ORDER BY c.opened_at DESC, c.id DESC LIMIT $3"""

_KNOWN: Final = """
SELECT EXISTS (SELECT FROM sessions WHERE user_id = $1) OR EXISTS (SELECT FROM user_devices WHERE user_id = $1),
    count(*)
FROM sessions WHERE user_id = $1 AND ended_at IS NULL"""


class Delivered(Struct):
    """What went over a connection: messages and bytes each way, and the last offset delivered in each channel with
    history."""

    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    offsets: dict[str, int]


class CatchUp(Struct):
    """What a client got in a channel when it was back. `recovered`: True: all `count` messages after the offset
    `after`; False: it was told of a gap; None: it did not ask. `offset`: where it went on."""

    channel: str
    recovered: bool | None
    after: int
    count: int
    offset: int


class Return(Struct):
    """How a client came back: with which connection, on which edge, and whether its session went on (`resumed`).

    `at` is before the end if the client was back before the edge noticed that the old connection was dead.
    """

    connection: str
    edge: str
    at: datetime
    resumed: bool
    channels: list[CatchUp]


class ConnectionEnd(Struct):
    """The end of a connection. Unknown values are None: `delivered` if the edge died, `edge_run` if the edge's facts
    are gone. `away_until`: if the client did not come back, until when it may resume, or could have resumed, the
    session."""

    at: datetime
    session: str
    connection: str
    opened_at: datetime
    client_name: str
    client_version: str
    address: str
    edge: str
    code: int
    reason: str
    by: str
    away_until: datetime | None
    delivered: Delivered | None
    back: Return | None
    edge_run: EdgeRun | None


class UserStory(Struct):
    """A user in a period: the ends of their connections and their refusals, newest first, up to a limit of each.

    `known`: whether the tables have anything about the user. `connected`: how many of their sessions are connected now.
    `unnamed`: refusals without a name in the period, which may concern the user, too. `more`: there is more than this.
    """

    user: str
    period: Period
    known: bool
    connected: int
    ends: list[ConnectionEnd]
    refusals: list[RefusedClient]
    unnamed: int
    more: bool


class _Stay(Struct):
    id: str
    session_key: str
    client_name: str
    opened_at: datetime
    ended_at: datetime | None
    away_until: datetime | None
    during: bool


class UserStories:
    """Asks for what happened to users."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def why(self, user: str, period: Period, limit: int) -> UserStory:
        """The story of one user in this period."""
        async with self._pool.database() as database, database.transaction(isolation="repeatable_read", readonly=True):
            known, connected = await database.fetchrow(_KNOWN, identity(user)) or (False, 0)
            rows = await database.fetch(_SESSIONS, identity(user), period.since, period.until, MAX_SESSIONS)
            stays = [_Stay(**row) for row in rows]
            lives, cut = await _connections(database, stays, period)
            ended = [
                (one, stay)
                for stay in stays
                for one in lives.get(stay.id, ())
                if one.closed_at is not None and period.since <= one.closed_at < period.until
            ]
            ended.sort(key=lambda end: (end[0].closed_at, end[0].id), reverse=True)
            more = len(ended) > limit or sum(one.during for one in stays) == MAX_SESSIONS or cut
            ended = ended[:limit]
            closed, cut_at = await closings(database, [one for one, _ in ended])
            more, ended = more or cut_at is not None, ended[:cut_at]
            back = _returns(ended, stays, lives, closed)
            returned = {place: back[one.id] for place, (one, _) in enumerate(ended) if one.id in back}
            subscribed, cut_at = await beginnings(database, returned)
            more, ended = more or cut_at is not None, ended[:cut_at]
        runs = await Edges(self._pool).of(sorted({one.instance for one, _ in ended}))
        counts = RefusalCounts(self._pool)
        refusals, unnamed = await counts.ones(period, limit, user), await counts.unnamed(period)
        ends = [_end(one, stay, back.get(one.id), lives, closed, subscribed, runs) for one, stay in ended]
        more = more or refusals.next is not None
        known = known or bool(refusals.rows)
        return UserStory(user, period, known, connected, ends, refusals.rows, unnamed, more)


async def _connections(
    database: Database, stays: Sequence[_Stay], period: Period
) -> tuple[dict[str, list[ConnectionLife]], bool]:
    """The connections of these sessions that were open in the period or after it, oldest first, by session; and whether
    there are more."""
    found: dict[str, list[ConnectionLife]] = {}
    ids, opened, ended = ([getattr(one, name) for one in stays] for name in ("id", "opened_at", "ended_at"))
    rows = await database.fetch(_CONNECTIONS, ids, period.since, MAX_CONNECTIONS, opened, ended)
    for session, *values in reversed(rows):
        found.setdefault(session, []).append(ConnectionLife(*values))
    return found, len(rows) == MAX_CONNECTIONS


def _returns(
    ended: Sequence[tuple[ConnectionLife, _Stay]],
    stays: Sequence[_Stay],
    lives: Mapping[str, list[ConnectionLife]],
    closed: Mapping[str, Closed],
) -> dict[str, ConnectionLife]:
    """For each of these connections, the one with which its client came back: the one that resumed its session, else
    the first one of a later session of the same device.

    A user may have several tabs open that only the order of their connections tells apart. So a connection that was
    opened before the end is the return only if the old one broke, and was not heard any more: the edge had not noticed
    yet. A later connection that continued another session is the return of that session's client.
    """
    gone_at = {one.id: _gone_at(one, closed) for life in lives.values() for one in life if one.closed_at is not None}
    resumed = {id_: later for life in lives.values() for id_, later in _resumed(life, gone_at).items()}
    begun: dict[tuple[str, str], list[ConnectionLife]] = {}
    for stay in stays:
        first = [one for one in lives.get(stay.id, ()) if one.id == stay.id]
        begun.setdefault((stay.session_key, stay.client_name), []).extend(first)
    for of_device in begun.values():
        of_device.sort(key=lambda one: one.opened_at)
    found = {}
    for one, stay in ended:
        if one.id in resumed:
            found[one.id] = resumed[one.id]
            continue
        assert one.closed_at is not None
        since = gone_at[one.id] if one.close_by == BY_NETWORK else one.closed_at
        of_device = begun[stay.session_key, stay.client_name]
        for later in of_device[bisect_left(of_device, since, key=lambda one: one.opened_at) :]:
            if later.id != one.id and _outlives(later, one):
                found[one.id] = later
                break
    return found


def _resumed(life: Sequence[ConnectionLife], gone_at: Mapping[str, datetime]) -> dict[str, ConnectionLife]:
    """The connections of a session (`life`, oldest first) that resumed it, each by the one that it follows.

    A session may have several connections open, so the next one is not always the return. A connection resumes a
    session that is away: it follows the one whose client was gone last when it was opened.
    """
    ended = [one for one in life if one.closed_at is not None and is_resumable(one.close_code or 0)]
    ended.sort(key=lambda one: gone_at[one.id])
    found: dict[str, ConnectionLife] = {}
    for later in life:
        place = bisect_right(ended, later.opened_at, key=lambda one: gone_at[one.id])
        # One that was not heard after its opening is among them itself.
        before = [one for one in ended[max(0, place - 2) : place] if one is not later]
        if before and _outlives(later, before[-1]):
            found.setdefault(before[-1].id, later)
    return found


def _outlives(later: ConnectionLife, old: ConnectionLife) -> bool:
    assert old.closed_at is not None
    return later.closed_at is None or later.closed_at > old.closed_at or later.opened_at >= old.closed_at


def _end(
    one: ConnectionLife,
    stay: _Stay,
    later: ConnectionLife | None,
    lives: Mapping[str, list[ConnectionLife]],
    closed: Mapping[str, Closed],
    subscribed: Mapping[str, Mapping[str, Subscribed]],
    runs: Mapping[str, EdgeRun],
) -> ConnectionEnd:
    assert one.closed_at is not None
    back, was_last = None, stay.ended_at is not None and one.closed_at >= stay.ended_at
    if later is not None:
        resumed = later in lives[stay.id]
        back = Return(later.id, later.edge, later.opened_at, resumed, _caught_up(subscribed.get(later.id, {})))
    return ConnectionEnd(
        at=one.closed_at,
        session=stay.id,
        connection=one.id,
        opened_at=one.opened_at,
        client_name=stay.client_name,
        client_version=one.client_version,
        address=one.address,
        edge=one.edge,
        code=one.close_code or 0,
        reason=one.close_reason,
        by=one.close_by,
        away_until=stay.away_until if back is None and was_last else None,
        delivered=_delivered(closed.get(one.id)),
        back=back,
        edge_run=runs.get(one.instance),
    )


def _gone_at(one: ConnectionLife, closed: Mapping[str, Closed]) -> datetime:
    """When the client of a connection that ended was heard last; the end if its edge did not tell, or did not ask."""
    assert one.closed_at is not None
    end = closed.get(one.id)
    if end is None or not end.heard_at:
        return one.closed_at
    heard_at = max(one.opened_at, datetime.fromtimestamp(time_of(end.heard_at) / 1000, UTC))
    return min(heard_at, one.closed_at) if one.closed_at - heard_at <= _ANSWERS_WITHIN else one.closed_at


def _delivered(end: Closed | None) -> Delivered | None:
    if end is None:
        return None
    return Delivered(end.messages_in, end.messages_out, end.bytes_in, end.bytes_out, end.offsets)


def _caught_up(first: Mapping[str, Subscribed]) -> list[CatchUp]:
    """What the first subscription to each channel brought."""
    return [
        CatchUp(channel, one.recovered, one.recovered_from, one.recovered_count, one.offset)
        for channel, one in sorted(first.items())
    ]
