"""The SQL that writes the rows of a fold. Statements take arrays, so that a commit needs few, whatever its size.

New rows are copied; these statements are for rows that exist already, and for counts, which are added to existing ones.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from services.sessions.statements import CONNECTION_COLUMNS, SESSION_COLUMNS, SUBSCRIPTION_COLUMNS

TIMELINE_COLUMNS: Final = "connection, number, at, facts"
USER_DEVICE_COLUMNS: Final = (
    "user_id, session_key, client_name, client_version, first_seen, last_seen, sessions, connections"
)
CHANNEL_COLUMNS: Final = "name, subscribers, peak, peak_at, subscriptions, first_at, last_at, steps"
CHANNEL_HOUR_COLUMNS: Final = "channel, hour, peak, last, subscriptions"
DROP_COLUMNS: Final = "width, at, edge, code, by, client_name, client_version, count"
OPENING_COLUMNS: Final = "width, at, edge, client_name, client_version, resumed, count"
REFUSAL_COUNT_COLUMNS: Final = "width, at, edge, action, code, count"
REFUSAL_COLUMNS: Final = (
    "at, edge, instance, action, code, reason, connection, user_id, channel, client_name, client_version, address, "
    "transport, user_agent, origin, count"
)
EDGE_COLUMNS: Final = (
    "instance, edge, software, first_at, last_at, started_at, draining_at, stopped_at, lost_at, opened, ended, "
    "hung_at, found_at, times_hung"
)


class Upsert(NamedTuple):
    """A statement that takes rows by their columns, each of which is one text: `rows_postgres.arguments` makes it.

    The driver checks for each element of an array whether it is an array itself, which takes more time than everything
    else about it. So texts and JSON values come in a JSON array, and values of other `types` in the text form of a
    PostgreSQL array.
    """

    statement: str
    types: tuple[str, ...]


_COLUMNS: Final = {"text": "json_array_elements_text(${}::json)", "json": "json_array_elements(${}::json)"}


def _upsert(types: str, statement: str) -> Upsert:
    """`statement` has `{rows}` for the rows, whose columns are of these types."""
    names = tuple(types.split())
    columns = (
        _COLUMNS.get(name, f"unnest(${{}}::text::{name}[])").format(number) for number, name in enumerate(names, 1)
    )
    return Upsert(statement.format(rows=f"ROWS FROM ({', '.join(columns)})"), names)


REMOVE_SESSIONS: Final = "DELETE FROM sessions WHERE id = ANY($1::text[])"
REMOVE_CONNECTIONS: Final = (
    "DELETE FROM connections WHERE id = ANY($1::text[])",
    "DELETE FROM subscriptions WHERE connection = ANY($1::text[])",
    "DELETE FROM timeline WHERE connection = ANY($1::text[])",
)

WRITE_SESSIONS: Final = _upsert(
    "text text text text text text text text int timestamptz text timestamptz timestamptz int text text text "
    "timestamptz",
    f"""
INSERT INTO sessions ({SESSION_COLUMNS})
SELECT * FROM {{rows}}
ON CONFLICT (id, opened_at) DO UPDATE SET client_version = excluded.client_version, edge = excluded.edge,
    instance = excluded.instance, connection = excluded.connection, connections = excluded.connections,
    ended_at = excluded.ended_at, away_until = excluded.away_until, end_code = excluded.end_code,
    end_reason = excluded.end_reason, end_by = excluded.end_by, address = excluded.address,
    connected_at = excluded.connected_at""",
)

WRITE_CONNECTIONS: Final = _upsert(
    "text text text text timestamptz timestamptz int text text text text",
    f"""
INSERT INTO connections ({CONNECTION_COLUMNS})
SELECT * FROM {{rows}}
ON CONFLICT (id, opened_at) DO UPDATE SET session_id = excluded.session_id, closed_at = excluded.closed_at,
    close_code = excluded.close_code, close_reason = excluded.close_reason, close_by = excluded.close_by""",
)

WRITE_SUBSCRIPTIONS: Final = _upsert(
    "text text timestamptz timestamptz timestamptz bool",
    f"""
INSERT INTO subscriptions ({SUBSCRIPTION_COLUMNS})
SELECT * FROM {{rows}}
ON CONFLICT (channel, since, connection, opened_at) DO UPDATE SET until = excluded.until,
    recovered = excluded.recovered""",
)

# Facts for an existing row come only from a dead letter, whose batch has other facts there already. The arrays are
# joined as texts: `jsonb` would refuse a NUL that somebody put into a name.
ADD_TO_TIMELINE: Final = _upsert(
    "text bigint timestamptz json",
    f"""
INSERT INTO timeline AS t ({TIMELINE_COLUMNS})
SELECT * FROM {{rows}}
ON CONFLICT (connection, number, at) DO UPDATE
SET facts = (left(t.facts::text, -1) || ',' || substr(excluded.facts::text, 2))::json""",
)

ADD_USER_DEVICES: Final = _upsert(
    "text text text text timestamptz timestamptz bigint bigint",
    f"""
INSERT INTO user_devices AS t ({USER_DEVICE_COLUMNS})
SELECT * FROM {{rows}}
ON CONFLICT (user_id, session_key, client_name, client_version) DO UPDATE SET
    first_seen = LEAST(t.first_seen, excluded.first_seen), last_seen = GREATEST(t.last_seen, excluded.last_seen),
    sessions = t.sessions + excluded.sessions, connections = t.connections + excluded.connections""",
)

WRITE_CHANNELS: Final = _upsert(
    "text int int timestamptz bigint timestamptz timestamptz text",
    f"""
INSERT INTO channels ({CHANNEL_COLUMNS})
SELECT * FROM {{rows}}
ON CONFLICT (name) DO UPDATE SET subscribers = excluded.subscribers, peak = excluded.peak, peak_at = excluded.peak_at,
    subscriptions = excluded.subscriptions, first_at = excluded.first_at, last_at = excluded.last_at,
    steps = excluded.steps""",
)

# Peaks are lowered before new hours are added; then days are derived from their hours again.
LOWER_CHANNEL_HOURS: Final = _upsert(
    "text timestamptz int",
    """
UPDATE channel_hours h SET peak = LEAST(h.peak, l.peak) FROM {rows} AS l(channel, hour, peak)
WHERE h.channel = l.channel AND h.hour = l.hour""",
)
LOWER_CHANNEL_DAYS: Final = _upsert(
    "text timestamptz int",
    """
UPDATE channel_days d SET peak = highest.peak, peak_hour = highest.hour
FROM (SELECT DISTINCT channel, date_trunc('day', hour, 'UTC') AS day FROM {rows} AS l(channel, hour, peak)) AS lowered
CROSS JOIN LATERAL (
    SELECT hour, peak FROM channel_hours h
    WHERE h.channel = lowered.channel AND h.hour >= lowered.day AND h.hour < lowered.day + '24:00:00'::interval
    ORDER BY peak DESC, hour LIMIT 1
) AS highest
WHERE d.channel = lowered.channel AND d.day = lowered.day""",
)

# A day adds up its hours: the first hour with the greatest peak, and all subscriptions.
ADD_CHANNEL_HOURS: Final = _upsert(
    "text timestamptz int int bigint",
    f"""
WITH told AS (
    SELECT * FROM {{rows}} AS h({CHANNEL_HOUR_COLUMNS})
), days AS (
    INSERT INTO channel_days AS t (channel, day, peak, peak_hour, subscriptions)
    SELECT channel, date_trunc('day', hour, 'UTC'), max(peak), (array_agg(hour ORDER BY peak DESC, hour))[1],
        sum(subscriptions)::bigint
    FROM told GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (channel, day) DO UPDATE SET
        peak_hour = CASE WHEN excluded.peak > t.peak THEN excluded.peak_hour
            WHEN excluded.peak = t.peak THEN LEAST(t.peak_hour, excluded.peak_hour) ELSE t.peak_hour END,
        peak = GREATEST(t.peak, excluded.peak), subscriptions = t.subscriptions + excluded.subscriptions
)
INSERT INTO channel_hours AS t ({CHANNEL_HOUR_COLUMNS}) SELECT * FROM told
ON CONFLICT (channel, hour) DO UPDATE SET peak = GREATEST(t.peak, excluded.peak), last = excluded.last,
    subscriptions = t.subscriptions + excluded.subscriptions""",
)


def _added_up(table: str, keys: str) -> str:
    """Adds the counts of the rows `told`, by only these columns, to those of `table`."""
    return f"""INSERT INTO {table} AS t ({keys}, count)
    SELECT {keys}, sum(count)::bigint FROM told GROUP BY {keys} ORDER BY {keys}
    ON CONFLICT ({keys}) DO UPDATE SET count = t.count + excluded.count"""


ADD_DROPS: Final = _upsert(
    "int timestamptz text int text text text bigint",
    f"""
WITH told AS (
    SELECT * FROM {{rows}} AS d({DROP_COLUMNS})
), codes AS (
    {_added_up("drop_codes", "width, at, code, by")}
), versions AS (
    {_added_up("drop_versions", "width, at, code, by, client_name, client_version")}
)
INSERT INTO drops AS t ({DROP_COLUMNS}) SELECT * FROM told
ON CONFLICT (width, at, edge, code, by, client_name, client_version) DO UPDATE SET count = t.count + excluded.count""",
)

ADD_OPENINGS: Final = _upsert(
    "int timestamptz text text text bool bigint",
    f"""
WITH told AS (
    SELECT * FROM {{rows}} AS o({OPENING_COLUMNS})
), versions AS (
    {_added_up("opening_versions", "width, at, client_name, client_version")}
)
INSERT INTO openings AS t ({OPENING_COLUMNS}) SELECT * FROM told
ON CONFLICT (width, at, edge, client_name, client_version, resumed) DO UPDATE SET count = t.count + excluded.count""",
)

ADD_REFUSAL_COUNTS: Final = _upsert(
    "int timestamptz text text int bigint",
    f"""
INSERT INTO refusal_counts AS t ({REFUSAL_COUNT_COLUMNS})
SELECT * FROM {{rows}}
ON CONFLICT (width, at, edge, action, code) DO UPDATE SET count = t.count + excluded.count""",
)

WRITE_EDGES: Final = _upsert(
    "text text text timestamptz timestamptz timestamptz timestamptz timestamptz timestamptz bigint bigint timestamptz "
    "timestamptz bigint",
    f"""
INSERT INTO edges ({EDGE_COLUMNS})
SELECT * FROM {{rows}}
ON CONFLICT (instance) DO UPDATE SET edge = excluded.edge, software = excluded.software, first_at = excluded.first_at,
    last_at = excluded.last_at, started_at = excluded.started_at, draining_at = excluded.draining_at,
    stopped_at = excluded.stopped_at, lost_at = excluded.lost_at, opened = excluded.opened, ended = excluded.ended,
    hung_at = excluded.hung_at, found_at = excluded.found_at, times_hung = excluded.times_hung""",
)
