"""How many sessions were connected at a moment, by user, address, version or edge."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from services.chassis.postgres.pool import Pool
from services.sessions.lengths import is_of_the_last, there_at
from services.sessions.queries.channel_presence_sql import present_in_channel
from services.sessions.queries.channel_subscriptions_postgres import before_the_newest
from services.sessions.queries.presence_postgres import carrying
from services.sessions.queries.reaches import EVER
from services.sessions.statements import END, PLANNED_ONCE
from services.sessions.values import text

PresentBy = Literal["user", "address", "version", "edge"]
_COLUMNS: Final[dict[PresentBy, tuple[str, ...]]] = {
    "user": ("user_id",),
    "address": ("address",),
    "version": ("client_name", "client_version"),
    "edge": ("edge",),
}
_OF_CONNECTIONS: Final = {"address", "client_version", "edge"}
"""Columns whose values may have been different when an earlier connection carried the session."""

MAX_GROUPS: Final = 200
MAX_COUNTED: Final = 250_000
"""Sessions that are counted: a second of PostgreSQL's time."""

LOOKED_UP: Final = 2_500
"""Up to this many subscriptions of a channel, their sessions are looked up one by one. For larger channels, the search
begins with the sessions of the moment."""

# A plan for all values is as good as one for these, and planning for all partitions takes as long as reading some
# thousand sessions. Rows of sessions are kept in memory: a megabyte for 10,000.
_SETTINGS: Final = f"{PLANNED_ONCE}; SET LOCAL work_mem = '32MB'"

# A plan for all values does not know the channel, and expects few subscriptions, to be compared with each connection.
_BY_HASH: Final = "SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off"

_OF_THE_LAST: Final = is_of_the_last("$1")
_CARRYING: Final = carrying("id, edge, client_version, address, opened_at", "true")

# A session has the values of its last connection. For the few that had another connection then, it is looked up.
_COUNTS: Final = """
WITH there AS MATERIALIZED (
    SELECT {columns}, count(*) AS read, count(*) FILTER (WHERE of_the_last) AS count,
        array_agg(id) FILTER (WHERE of_the_last IS NOT TRUE) AS ids,
        array_agg(opened_at) FILTER (WHERE of_the_last IS NOT TRUE) AS beginnings
    FROM ({there}) AS found GROUP BY {columns}
), present AS (
    SELECT {columns}, count FROM there
    UNION ALL
    SELECT {of_then}, 1
    FROM (SELECT {columns}, unnest(ids) AS id, unnest(beginnings) AS opened_at FROM there) AS s
    CROSS JOIN LATERAL ({carrying}) AS c WHERE $2::text IS NULL OR c.edge = $2
)
SELECT {columns}, sum(count)::bigint AS count, sum(sum(count)) OVER ()::bigint AS total,
    (SELECT sum(read) FROM there)::bigint AS read
FROM present GROUP BY {columns} HAVING sum(count) > 0 ORDER BY sum(count) DESC, {columns} LIMIT {groups}"""


def _greatest(source: str, read: str = "(SELECT count(*) FROM there)") -> str:
    """The greatest groups of the rows in `source`."""
    return f"""
SELECT {{columns}}, count(*) AS count, sum(count(*)) OVER ()::bigint AS total, {read} AS read
FROM {source} GROUP BY {{columns}} ORDER BY count(*) DESC, {{columns}} LIMIT {{groups}}"""


# There are almost as many users and addresses as sessions: these are grouped only once, at the end.
_EACH: Final = """
WITH there AS MATERIALIZED ({there}), present AS MATERIALIZED (
    SELECT {columns}, connection, connected_at FROM there WHERE of_the_last
    UNION ALL
    SELECT {of_then}, c.id, c.opened_at FROM (SELECT * FROM there WHERE of_the_last IS NOT TRUE) AS s
    CROSS JOIN LATERAL ({carrying}) AS c WHERE $2::text IS NULL OR c.edge = $2
)"""
_COUNTS_OF_EACH: Final = f"{_EACH}{_greatest('present')}"

# To find the connections in a large channel, its subscriptions are read as a whole. Looking up each connection would
# take several times as long. Only the few connections that lasted for more than two days are looked up, as otherwise
# all of the channel's history would be read. The index by connection finds them (`|| ''` keeps PostgreSQL from using
# the primary key, which begins with the channel).
_COUNTS_OF_SUBSCRIBED: Final = f"""{_EACH}, first(at) AS MATERIALIZED (
    SELECT GREATEST(min(opened_at) - '01:00:00'::interval, $1 - '2 days'::interval) FROM there
), subscribed AS (
    SELECT connection FROM subscriptions
    WHERE channel = $3 AND since <= $1 AND (until IS NULL OR until > $1) AND since >= (SELECT at FROM first)
        AND opened_at <= $1 AND opened_at >= (SELECT at FROM first) OFFSET 0
), present_in_channel AS (
    SELECT connection, {{columns}} FROM present JOIN subscribed USING (connection)
    UNION
    SELECT connection, {{columns}} FROM present
    WHERE connected_at < (SELECT at FROM first) AND EXISTS (
        SELECT FROM subscriptions AS u WHERE u.connection = present.connection AND u.opened_at = present.connected_at
            AND u.channel || '' = $3 AND u.since <= $1 AND {END} > $1 OFFSET 0)
){_greatest("present_in_channel")}"""

_COUNTS_IN_CHANNEL: Final = _greatest("({in_channel}) AS present", read="0")
_THOSE_IN_CHANNEL: Final = present_in_channel("$1", "$2", "$3", f"'{EVER:%Y-%m-%d}'")


def _statement(by: PresentBy, template: str) -> str:
    columns = _COLUMNS[by]
    there = " UNION ALL ".join(
        f"""
    SELECT {", ".join(columns)}, id, opened_at, connection, COALESCE(connected_at, opened_at) AS connected_at,
        {_OF_THE_LAST} AS of_the_last FROM sessions AS s
    WHERE opened_at <= $1 AND {condition} AND ($2::text IS NULL OR edge = $2 OR {_OF_THE_LAST} IS NOT TRUE)"""
        for condition in there_at("$1")
    )
    return template.format(
        columns=", ".join(columns),
        of_then=", ".join(("c." if name in _OF_CONNECTIONS else "s.") + name for name in columns),
        there=f"{there} LIMIT {MAX_COUNTED}",
        carrying=_CARRYING,
        in_channel=_THOSE_IN_CHANNEL,
        groups=MAX_GROUPS,
    )


class PresentCount(Struct):
    """A group of sessions."""

    count: int
    user: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    client_name: str | UnsetType = UNSET
    client_version: str | UnsetType = UNSET
    edge: str | UnsetType = UNSET


class PresentCounts(Struct):
    """How many sessions were connected at `at`: all (`total`), and the greatest groups. `more`: there were others, but
    only `MAX_COUNTED` are counted."""

    at: datetime
    by: PresentBy
    total: int
    groups: list[PresentCount]
    more: bool


class PresenceCounts:
    """Counts who was there."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def at(
        self, at: datetime, by: PresentBy, *, channel: str | None = None, edge: str | None = None
    ) -> PresentCounts:
        """How many sessions were connected at this moment and satisfy the conditions (None: no condition). Reads at
        most `MAX_COUNTED` of them. At most `MAX_GROUPS` groups."""
        values: list[Any] = [at, edge]
        async with self._pool.database() as database, database.transaction(readonly=True):
            await database.execute(_SETTINGS)
            if channel is None:
                statement = _statement(by, _COUNTS_OF_EACH if by in ("user", "address") else _COUNTS)
            else:
                values.append(text(channel))
                few = await before_the_newest(database, text(channel), LOOKED_UP, at) == EVER
                if not few:
                    await database.execute(_BY_HASH)
                statement = _statement(by, _COUNTS_IN_CHANNEL if few else _COUNTS_OF_SUBSCRIBED)
            rows = await database.fetch(statement, *values)
        total, counted = (rows[0]["total"], rows[0]["read"]) if rows else (0, 0)
        return PresentCounts(at, by, total, [_count(row) for row in rows], counted >= MAX_COUNTED)


def _count(row: Any) -> PresentCount:
    named = {name: value for name, value in row.items() if name not in ("total", "read")}
    return PresentCount(**{"user" if name == "user_id" else name: value for name, value in named.items()})
