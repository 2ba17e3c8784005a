"""The SQL that finds sessions. Pure: texts of conditions, and the values that are bound to them.

Rows come in one order, newest first, which all indexes of the table include (`tables.SessionRow`): a filter by equality
walks its index, and stops after a page. Where no index has the order, the rows are found in *branches*, each by an
index that has it, and merged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from services.sessions.api.filters import Filters
from services.sessions.lengths import LENGTHS, STILL_THERE, is_of_the_last, there_at
from services.sessions.queries.channel_presence_sql import present_in_channel
from services.sessions.queries.places import Place
from services.sessions.statements import END
from services.sessions.values import after_prefix

STATE: Final = """CASE WHEN ended_at IS NULL THEN 'open' WHEN away_until > now() THEN 'away' ELSE 'ended' END"""
COLUMNS: Final = f"""id, user_id AS user, session_key, client_name, client_version, {STATE} AS state, edge, instance,
    connection, connections AS connection_count, opened_at, ended_at,
    CASE WHEN away_until > now() THEN away_until END AS away_until, end_code, end_reason, end_by, address"""

_ORDER: Final = "ORDER BY opened_at DESC, id DESC"

_CONDITION: Final[dict[str, str]] = {
    "open": "ended_at IS NULL",
    "away": "ended_at IS NOT NULL AND away_until > now()",
    "ended": "ended_at IS NOT NULL AND away_until > now() IS NOT TRUE",
}

# Goes from name to name in the index sessions_by_version instead of reading every session.
MAX_NAMES: Final = 50
NAMES: Final = f"""
WITH RECURSIVE found(name) AS (
    (SELECT client_name FROM sessions ORDER BY client_name LIMIT 1)
    UNION ALL
    SELECT (SELECT s.client_name FROM sessions s WHERE s.client_name > found.name ORDER BY s.client_name LIMIT 1)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL LIMIT {MAX_NAMES + 1}"""


class Found(NamedTuple):
    """What is known before the search.

    `channel_since`: subscriptions of the channel, and sessions, from after this moment are looked up; None: the channel
    is checked for each session. `client_names`: the names of all clients if they are few, needed only for a version
    without a name. `newest`: sessions that are away are looked for among this many of the newest sessions; None: all
    that are away are read.
    """

    channel_since: datetime | None = None
    client_names: Sequence[str] = ()
    newest: int | None = None


UNKNOWN: Final = Found()


class Query(NamedTuple):
    """A statement, and the values of its parameters."""

    sql: str
    values: list[Any]


class Bound:
    """Collects values that become parameters of a statement."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def __call__(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


def select(
    filters: Filters,
    limit: int | None = None,
    after: Place | None = None,
    found: Found = UNKNOWN,
    columns: str = COLUMNS,
) -> Query:
    """Finds the sessions, newest first: up to `limit` of them, after the place `after`."""
    bound = Bound()
    period = _period(filters, bound, after)
    conditions = period + _conditions(filters, bound)
    end = "" if limit is None else f"LIMIT {int(limit)}"
    if found.channel_since is not None:
        with_ = _looked_up(filters, found.channel_since, bound)
        return Query(f"{with_} SELECT {columns} FROM of_channel WHERE {_all(conditions)} {_ORDER} {end}", bound.values)
    if filters.channel is not None:
        carried = "" if filters.at is None else f" AND c.id = {_connection_then(filters, bound)}"
        conditions.append(f"EXISTS (SELECT {_of_channel(filters, bound)} AND c.session_id = s.id{carried} OFFSET 0)")
    elif filters.at is not None:
        conditions.append(_carried(filters, bound))
    if found.newest is not None:
        source = f"SELECT * FROM sessions WHERE {_all(period)} {_ORDER} LIMIT {int(found.newest)}"
        return Query(f"SELECT {columns} FROM ({source}) AS s WHERE {_all(conditions)} {_ORDER} {end}", bound.values)
    if filters.state == "away" and not filters.of_few:
        # These are found by `away_until`, and sorted afterwards: PostgreSQL must not choose to look for them among all
        # sessions, nor keep all of them.
        source = f"SELECT * FROM sessions s WHERE {_all(conditions)} OFFSET 0"
        return Query(f"SELECT {columns} FROM ({source}) AS away {_ORDER} {end}", bound.values)
    branches = _branches(filters, found, bound)
    if len(branches) == 1:
        return Query(
            f"SELECT {columns} FROM sessions s WHERE {_all(conditions + branches)} {_ORDER} {end}", bound.values
        )
    parts = [f"SELECT * FROM sessions s WHERE {_all([*conditions, branch])}" for branch in branches]
    if limit is not None:
        parts = [f"({part} {_ORDER} {end})" for part in parts]
    return Query(f"SELECT {columns} FROM ({' UNION ALL '.join(parts)}) s {_ORDER} {end}", bound.values)


def in_channel(filters: Filters, since: datetime, after: Place | None = None) -> Query:
    """Finds the sessions that were in the filters' channel at their moment, and that subscribed and began after
    `since`, as `channel_presence_postgres.newest_in_channel` reads them."""
    bound = Bound()
    conditions = _period(filters, bound, after) + _conditions(filters, bound)
    present = _present_in_channel(filters, since, bound, "s.*, c.since")
    sql = f"SELECT {COLUMNS}, since FROM ({present}) AS s WHERE {_all(conditions)} ORDER BY since DESC"
    return Query(sql, bound.values)


def where(filters: Filters, bound: Bound) -> str:
    """Only the conditions, for a question that counts."""
    conditions = _period(filters, bound) + _conditions(filters, bound)
    if filters.channel is not None and filters.at is not None:
        carried = f"(s.id, {_connection_then(filters, bound)})"
        conditions.append(f"{carried} IN (SELECT c.session_id, c.id {_of_channel(filters, bound)})")
    elif filters.channel is not None:
        conditions.append(f"s.id IN (SELECT c.session_id {_of_channel(filters, bound)})")
    elif filters.at is not None:
        conditions.append(_carried(filters, bound))
    return _all(conditions)


def of_channels(filters: Filters, bound: Bound) -> str:
    """Joins the sessions `s` with their subscriptions `u`: those at the filters' moment, of the connection that carried
    the session then; without a moment all.

    Few of the period's sessions were there at a moment: their connections are looked up one by one. PostgreSQL does not
    know how few they are, and might read all connections.
    """
    if filters.at is None:
        since = _a_day_before(filters, bound)
        return f"""JOIN connections c ON c.session_id = s.id{since("c.opened_at")}
            JOIN subscriptions u ON u.connection = c.id AND u.opened_at = c.opened_at{since("u.opened_at")}"""
    return f"""CROSS JOIN LATERAL (
        SELECT c.id, c.opened_at {_by_another(filters, bound)} AND c.id = {_connection_then(filters, bound)} OFFSET 0
    ) c CROSS JOIN LATERAL (
        SELECT u.channel FROM subscriptions u
        WHERE u.connection = c.id AND u.opened_at = c.opened_at AND {_subscribed_at(filters, bound)} OFFSET 0
    ) u"""


def edge_then(filters: Filters, bound: Bound) -> str:
    """The edge on which the session `s` was at the filters' moment; NULL if it was away."""
    return _then("s.edge", "c.edge", filters, bound)


def _all(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions) or "true"


def _period(filters: Filters, bound: Bound, after: Place | None = None) -> list[str]:
    """The conditions for the period, and for the place after which a page begins."""
    found = []
    if filters.since is not None:
        found.append(f"opened_at >= {bound(filters.since)}")
    if filters.until is not None:
        found.append(f"opened_at < {bound(filters.until)}")
    if after is not None:
        at, id_ = bound(after.at), bound(after.id)
        found.append(f"opened_at <= {at} AND (opened_at, id) < ({at}, {id_})")
    return found


def _conditions(filters: Filters, bound: Bound) -> list[str]:
    """All conditions except those for the period."""
    found = []
    for column, value in (
        ("user_id", filters.user),
        ("edge", filters.edge if filters.at is None else None),  # then: `_carried`
        ("end_code", filters.end_code),
        ("client_name", filters.client_name),
        ("client_version", filters.client_version),
    ):
        if value is not None:
            found.append(f"{column} = {bound(value)}")
    if filters.address is not None:
        found.append(f"address <> '' AND address >= {bound(filters.address)}")
        if end := after_prefix(filters.address):
            found.append(f"address < {bound(end)}")
    if filters.state is not None:
        found.append(_CONDITION[filters.state])
    if filters.at is not None:
        at = bound(filters.at)
        found.append(f"opened_at <= {at} AND (ended_at IS NULL OR ended_at > {at})")
    return found


def _branches(filters: Filters, found: Found, bound: Bound) -> list[str]:
    """Conditions, each served by an index: for every session exactly one of them holds."""
    if filters.of_few:
        return ["true"]
    if filters.at is not None:
        if filters.state == "open":
            return [STILL_THERE]
        there = there_at(bound(filters.at))
        return [one for one in there if not filters.state or one != STILL_THERE]
    equal = (filters.edge, filters.end_code, filters.client_name, filters.channel)
    if filters.client_version is not None and filters.client_name is None and found.client_names:
        return [f"client_name = {bound(name)}" for name in found.client_names]
    if filters.state == "ended" and equal == (None,) * len(equal):
        return [length.condition for length in LENGTHS]
    return ["true"]


def _looked_up(filters: Filters, since: datetime, bound: Bound) -> str:
    """A WITH whose table `of_channel` has the sessions of the channel's subscriptions after `since`, each once. They
    are looked up one by one: PostgreSQL guesses wrong how to join tables of millions. A session began with the
    connection of the same id."""
    if filters.at is not None:
        return f"WITH of_channel AS MATERIALIZED ({_present_in_channel(filters, since, bound, 's.*')})"
    channel, after = bound(filters.channel), bound(since)
    return f"""
WITH connected AS MATERIALIZED (
    SELECT DISTINCT ON (c.session_id) c.session_id, c.id, c.opened_at
    FROM (
        SELECT connection, opened_at FROM subscriptions
        WHERE channel = {channel} AND since > {after} AND opened_at > {after}
    ) AS u CROSS JOIN LATERAL (
        SELECT session_id, id, opened_at FROM connections
        WHERE id = u.connection AND opened_at = u.opened_at OFFSET 0
    ) AS c
    ORDER BY c.session_id, c.opened_at
), of_channel AS MATERIALIZED (
    SELECT s.* FROM connected AS c CROSS JOIN LATERAL (
        SELECT * FROM sessions
        WHERE id = c.session_id AND opened_at > {after} AND opened_at <= c.opened_at + '24:00:00'::interval
            AND opened_at >= CASE WHEN c.id = c.session_id THEN c.opened_at ELSE '-infinity' END
        OFFSET 0
    ) AS s
)"""


def _present_in_channel(filters: Filters, since: datetime, bound: Bound, columns: str) -> str:
    edge = "NULL" if filters.edge is None else bound(filters.edge)
    return present_in_channel(bound(filters.at), edge, bound(filters.channel), bound(since), columns)


def _of_channel(filters: Filters, bound: Bound) -> str:
    since = _a_day_before(filters, bound)
    began = f"{since('u.since')}{since('u.opened_at')}{since('c.opened_at')}"
    at = ""
    if filters.at is not None:
        at = f" AND {_subscribed_at(filters, bound)} AND {_open_at(filters, bound)}"
        at += "" if filters.edge is None else f" AND c.edge = {bound(filters.edge)}"
    return (
        "FROM subscriptions u JOIN connections c ON c.id = u.connection AND c.opened_at = u.opened_at "
        f"WHERE u.channel = {bound(filters.channel)}{began}{at}"
    )


def _a_day_before(filters: Filters, bound: Bound) -> Callable[[str], str]:
    """A condition for times: not earlier than a day before the period, as clocks of edges may differ."""
    if filters.since is None:
        return lambda column: ""
    begin = f"{bound(filters.since)}::timestamptz - '24:00:00'::interval"
    return lambda column: f" AND {column} >= {begin}"


def _connection_then(filters: Filters, bound: Bound) -> str:
    """The id of the connection that carried the session `s` at the filters' moment; NULL if it was away."""
    return _then("s.connection", "c.id", filters, bound)


def _then(of_the_last: str, of_another: str, filters: Filters, bound: Bound) -> str:
    """A value of the connection that carried the session `s` at the filters' moment: the session itself has that of its
    last connection. Of earlier connections that overlap, the one that was opened last carries the session."""
    newest = f"SELECT {of_another} {_by_another(filters, bound)} ORDER BY c.opened_at DESC, c.id DESC LIMIT 1"
    return f"CASE WHEN {is_of_the_last(bound(filters.at))} THEN {of_the_last} ELSE ({newest}) END"


def _carried(filters: Filters, bound: Bound) -> str:
    """The condition that a session had a connection then, on the edge of the filters."""
    if filters.edge is None:
        of_the_last = is_of_the_last(bound(filters.at))
        return f"({of_the_last} OR EXISTS (SELECT {_by_another(filters, bound)} OFFSET 0))"
    return f"{bound(filters.edge)} = {edge_then(filters, bound)}"


def _by_another(filters: Filters, bound: Bound) -> str:
    # Reads the partitions of the session's own time, and of the day before it, as clocks of edges may differ.
    return f"""FROM connections c WHERE {_open_at(filters, bound)} AND c.session_id = s.id
        AND c.opened_at >= s.opened_at - '24:00:00'::interval"""


def _subscribed_at(filters: Filters, bound: Bound) -> str:
    at = bound(filters.at)
    return f"u.since <= {at} AND {END} > {at}"


def _open_at(filters: Filters, bound: Bound) -> str:
    at = bound(filters.at)
    return f"c.opened_at <= {at} AND (c.closed_at IS NULL OR c.closed_at > {at})"
