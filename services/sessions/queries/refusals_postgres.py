"""Who was refused, how often and why. Beyond a rate edges write sums: each stands for `count` refusals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from msgspec import UNSET, Struct, UnsetType

from proto import codes
from services.chassis.postgres.pool import Pool
from services.sessions.queries.periods import COUNTED, MINUTE_S, STEP, Period, Point, filled
from services.sessions.queries.places import RefusalPlace
from services.sessions.values import identity

RefusalsBy = Literal["action", "code", "user"]

_COLUMNS: Final = {"action": "action, code", "code": "code"}
MAX_GROUPS: Final = 200

_COUNTS: Final = f"""
SELECT {{columns}}, sum(count)::bigint AS count FROM refusal_counts WHERE {COUNTED}
GROUP BY {{columns}} ORDER BY sum(count) DESC, {{columns}} LIMIT {MAX_GROUPS}"""

MAX_READ: Final = 5_000
"""Records that are counted one by one, by user or for one user; if there are more, the newest."""

_OF_USER: Final = "AND user_id = $4"

# A record without a user is of an anonymous client if the client had connected; even a sum then names the connection.
# Otherwise nobody knows who it was, as for sums of more clients than an edge tells apart. Each record has a place, 1
# for the newest: by it the greatest groups find their details, and only these groups are sorted.
_BY_USER: Final = f"""
WITH newest AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY at DESC, number DESC) AS place, at, user_id, action, code, reason, channel,
        address, count, user_id = '' AND connection <> '' AND action <> 'connect' AS anonymous
    FROM refusals WHERE at >= $1 AND at < $2 {{of_user}} ORDER BY at DESC, number DESC LIMIT $3
), greatest AS MATERIALIZED (
    SELECT sum(count)::bigint AS count, min(place) AS last, array_agg(place) AS places
    FROM newest GROUP BY user_id, anonymous, action, code, reason ORDER BY 1 DESC, 2 LIMIT {MAX_GROUPS}
), of_channels AS (
    SELECT last, count(DISTINCT channel) AS channels, min(place) AS last_of_channel
    FROM (SELECT last, unnest(places) AS place FROM greatest) AS one JOIN newest USING (place)
    WHERE channel <> '' GROUP BY last
)
SELECT n.user_id AS user, n.anonymous, n.action, n.code, n.reason, g.count, n.at AS last_at, n.address,
    coalesce(c.channel, '') AS channel, coalesce(o.channels, 0) AS channels,
    (SELECT count(*) >= $3 FROM newest) AS more
FROM greatest AS g JOIN newest AS n ON n.place = g.last LEFT JOIN of_channels AS o ON o.last = g.last
LEFT JOIN newest AS c ON c.place = o.last_of_channel ORDER BY g.count DESC, g.last"""

# No table of counts has users.
_NEWEST_OF_USER: Final = f"""
WITH newest AS MATERIALIZED (
    SELECT at, action, code, count FROM refusals WHERE at >= $1 AND at < $2 {_OF_USER}
    ORDER BY at DESC, number DESC LIMIT $3
)"""
_COUNTS_OF_USER: Final = f"""{_NEWEST_OF_USER}
SELECT {{columns}}, sum(count)::bigint AS count FROM newest
GROUP BY {{columns}} ORDER BY sum(count) DESC, {{columns}} LIMIT {MAX_GROUPS}"""
_CURVE_OF_USER: Final = f"""{_NEWEST_OF_USER}
SELECT date_bin(make_interval(secs => $5::int), at, '1970-01-01 00:00:00+00'::timestamptz) AS at,
    sum(count)::bigint AS count, count(*) AS records FROM newest GROUP BY 1"""

_TOTAL: Final = f"SELECT coalesce(sum(count), 0)::bigint FROM refusal_counts WHERE {COUNTED}"
_CURVE: Final = f"SELECT {STEP}, sum(count)::bigint FROM refusal_counts WHERE {COUNTED} GROUP BY 1"

_ONES: Final = """
SELECT number, at, edge, action, code, reason, connection, user_id AS user, channel, client_name, client_version,
    address, transport, user_agent, origin, count
FROM refusals WHERE at >= $1 AND at < $2 {more} ORDER BY at DESC, number DESC LIMIT $3"""


_OF_STRANGERS: Final = ["handshake", "emulate"]
"""Actions that are refused before a client says who it is."""

_STRANGERS: Final = [codes.INVALID_TOKEN.code, codes.BAD_REQUEST_CLOSE.code, codes.STALE.code]
"""With these codes, a refused connect is that of a stranger, who had no valid token. With others, such as that of an
expired token, it may be that of a user."""

_UNNAMED: Final = """
SELECT coalesce(sum(count), 0)::bigint FROM (
    SELECT user_id, connection, action, code, count FROM refusals WHERE at >= $1 AND at < $2 ORDER BY at DESC LIMIT $3
) AS newest
WHERE user_id = '' AND connection = '' AND action <> ALL($4::text[])
    AND NOT (action = 'connect' AND code = ANY($5::int[]))"""


class RefusalCount(Struct):
    """A group of refusals. By user, it also has whether the client was anonymous, the reason, the time, address and
    channel of the last one, and the number of channels."""

    count: int
    action: str | UnsetType = UNSET
    code: int | UnsetType = UNSET
    user: str | UnsetType = UNSET
    anonymous: bool | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    channels: int | UnsetType = UNSET
    address: str | UnsetType = UNSET
    last_at: datetime | UnsetType = UNSET


class Refusals(Struct):
    """Refusals in a period: how many, the greatest groups first, and their curve. `more`: the groups are of only the
    newest `MAX_READ` records; for one user, so are `total` and `curve`."""

    period: Period
    by: RefusalsBy
    total: int
    groups: list[RefusalCount]
    step_s: int
    curve: list[Point]
    more: bool


class RefusedClient(Struct):
    """One record of an edge. It stands for `count` refusals.

    `address`, `transport`, `user_agent` and `origin` are those of the client's request, as far as the edge's
    `client.session_event_details` names them, and "" otherwise.
    """

    at: datetime
    edge: str
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


class RefusalsPage(NamedTuple):
    """Refusals, newest first, and where the next page begins: None if there are no more."""

    rows: list[RefusedClient]
    next: RefusalPlace | None


class RefusalCounts:
    """Asks for refusals."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ask(self, period: Period, by: RefusalsBy = "action", user: str | None = None) -> Refusals:
        """The refusals in this period, rounded to whole minutes; of one user, or of all. At most `MAX_GROUPS` groups:
        by action and code, by code only, or by user, action, code and reason."""
        period = period.rounded(MINUTE_S)
        if user is not None:
            return await self._of_user(period, by, identity(user))
        async with self._pool.database() as database, database.transaction(isolation="repeatable_read", readonly=True):
            if by == "user":
                rows = await database.fetch(_BY_USER.format(of_user=""), period.since, period.until, MAX_READ)
            else:
                rows = await database.fetch(_COUNTS.format(columns=_COLUMNS[by]), *period.counted)
            total = await database.fetchval(_TOTAL, *period.counted)
            curve = await database.fetch(_CURVE, *period.counted_up_to(period.step_s), period.step_s)
        points = filled(period, dict(map(tuple, curve)))
        more = any(row.get("more") for row in rows)
        return Refusals(period, by, total, _groups(rows), period.step_s, points, more)

    async def _of_user(self, period: Period, by: RefusalsBy, user: str) -> Refusals:
        statement = _BY_USER.format(of_user=_OF_USER) if by == "user" else _COUNTS_OF_USER.format(columns=_COLUMNS[by])
        values = period.since, period.until, MAX_READ, user
        async with self._pool.database() as database, database.transaction(isolation="repeatable_read", readonly=True):
            rows = await database.fetch(statement, *values)
            curve = await database.fetch(_CURVE_OF_USER, *values, period.step_s)
        points = filled(period, {row["at"]: row["count"] for row in curve})
        total, records = sum(row["count"] for row in curve), sum(row["records"] for row in curve)
        return Refusals(period, by, total, _groups(rows), period.step_s, points, records >= MAX_READ)

    async def unnamed(self, period: Period) -> int:
        """The number of refusals that may concern a user, but name neither user nor connection, among the newest
        `MAX_READ` records of the period."""
        values = period.since, period.until, MAX_READ, _OF_STRANGERS, _STRANGERS
        async with self._pool.database() as database:
            return int(await database.fetchval(_UNNAMED, *values))

    async def ones(
        self, period: Period, limit: int, user: str | None = None, after: RefusalPlace | None = None
    ) -> RefusalsPage:
        """Up to `limit` refusals, newest first, from the place `after` on; of one user, or of all."""
        more, values = "", list[Any]([period.since, period.until, limit + 1])
        if user is not None:
            values.append(identity(user))
            more += f" AND user_id = ${len(values)}"
        if after is not None:
            values += [after.at, after.number]
            at, number = f"${len(values) - 1}", f"${len(values)}"
            more += f" AND at <= {at} AND (at, number) < ({at}, {number})"
        async with self._pool.database() as database:
            rows = await database.fetch(_ONES.format(more=more), *values)
        places = [RefusalPlace(row["at"], row["number"]) for row in rows[limit - 1 : limit] if len(rows) > limit]
        ones = [RefusedClient(**{name: value for name, value in row.items() if name != "number"}) for row in rows]
        return RefusalsPage(ones[:limit], places[0] if places else None)


def _groups(rows: Sequence[Any]) -> list[RefusalCount]:
    return [RefusalCount(**{name: value for name, value in row.items() if name != "more"}) for row in rows]
