"""How many were connected at a moment, by what they have in common."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from services.chassis.postgres.pool import Pool
from services.sessions.lengths import is_of_the_last, there_at
from services.sessions.queries.channel_presence_sql import present_in_channel
from services.sessions.queries.channel_subscriptions_postgres import MANY, before_the_newest
from services.sessions.queries.presence_postgres import carrying
from services.sessions.queries.reaches import EVER
from services.sessions.statements import END
from services.sessions.values import text

PresentBy = Literal["user", "address", "version", "edge"]
_COLUMNS: Final[dict[str, str]] = {
    "user": "user_id",
    "address": "address",
    "version": "client_name, client_version",
    "edge": "edge",
}
MAX_GROUPS: Final = 200
MAX_COUNTED: Final = 250_000
"""Sessions that are counted: a second of PostgreSQL's time."""

# Rows of sessions that were there are kept while those of several connections are looked up: a megabyte for 10,000.
_MEMORY: Final = "SET LOCAL work_mem = '32MB'"

_EACH: Final = "user_id, address, client_name, client_version, edge, connection, id, opened_at, connected_at"
_OF_THE_LAST: Final = is_of_the_last("$1")
_THERE: Final = " UNION ALL ".join(
    f"""
    SELECT {_EACH}, {_OF_THE_LAST} AS of_the_last FROM sessions AS s
    WHERE opened_at <= $1 AND {condition} AND ($2::text IS NULL OR edge = $2 OR {_OF_THE_LAST} IS NOT TRUE)"""
    for condition in there_at("$1")
)

_CARRYING: Final = carrying("id, edge, client_version, address, opened_at", "true")

# A session has what is asked of its last connection. Of the few that had another then, it is looked up.
_ALL: Final = f"""
there AS MATERIALIZED (SELECT * FROM ({_THERE}) AS found LIMIT {{most}}),
present AS (
    SELECT user_id, address, client_name, client_version, edge, connection,
        COALESCE(connected_at, opened_at) AS opened_at
    FROM there WHERE of_the_last
    UNION ALL
    SELECT s.user_id, c.address, s.client_name, c.client_version, c.edge, c.id, c.opened_at
    FROM (SELECT * FROM there WHERE of_the_last IS NOT TRUE) AS s CROSS JOIN LATERAL ({_CARRYING}) AS c
    WHERE $2::text IS NULL OR c.edge = $2
)"""
_HOW_MANY_OF_ALL: Final = "(SELECT count(*) FROM there)"

# Of a channel with too many subscriptions: it is looked for in each session that was there.
_SUBSCRIBED: Final = f"""
WHERE EXISTS (
    SELECT FROM subscriptions WHERE connection = present.connection AND opened_at = present.opened_at
        AND channel = $3 AND since <= $1 AND {END} > $1 OFFSET 0)"""

_THOSE_IN_CHANNEL: Final = present_in_channel("$1", "$2", "$3", f"'{EVER:%Y-%m-%d}'")
_IN_CHANNEL: Final = f"present AS ({_THOSE_IN_CHANNEL})"

_COUNTS: Final = f"""
WITH {{present}}
SELECT {{columns}}, count(*) AS count, sum(count(*)) OVER ()::bigint AS total, {{read}} AS read
FROM present {{where}} GROUP BY {{columns}} ORDER BY count(*) DESC, {{columns}} LIMIT {MAX_GROUPS}"""


class PresentCount(Struct):
    """The sessions that have in common what they were counted by."""

    count: int
    user: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    client_name: str | UnsetType = UNSET
    client_version: str | UnsetType = UNSET
    edge: str | UnsetType = UNSET


class PresentCounts(Struct):
    """How many were connected at `at`: all (`total`), and the greatest groups of them. `more`: there were others, but
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
        """How many were connected at this moment and satisfy the conditions (None: no condition): reads `MAX_COUNTED`
        of them. At most `MAX_GROUPS` groups."""
        values: list[Any] = [at, edge]
        present, read, where = _ALL.format(most=MAX_COUNTED), _HOW_MANY_OF_ALL, ""
        async with self._pool.database() as database, database.transaction(readonly=True):
            await database.execute(_MEMORY)
            if channel is not None:
                values.append(text(channel))
                where = _SUBSCRIBED
                if await before_the_newest(database, text(channel), MANY, at) == EVER:
                    present, read, where = _IN_CHANNEL, "0", ""
            statement = _COUNTS.format(columns=_COLUMNS[by], present=present, read=read, where=where)
            rows = await database.fetch(statement, *values)
        total, counted = (rows[0]["total"], rows[0]["read"]) if rows else (0, 0)
        return PresentCounts(at, by, total, [_count(row) for row in rows], counted >= MAX_COUNTED)


def _count(row: Any) -> PresentCount:
    named = {name: value for name, value in row.items() if name not in ("total", "read")}
    return PresentCount(**{"user" if name == "user_id" else name: value for name, value in named.items()})
