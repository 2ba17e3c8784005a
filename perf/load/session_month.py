"""The SQL with which PostgreSQL makes a plausible month of sessions: the rows that the read models would have.

A session is short (70 %), some hours long, or some days; one of seven is carried by several connections, half of
these from several networks. Users, channels and the hours of a day differ: some have many more sessions than others.
Each 16th session has a timeline. All counts are made from these rows, so the read models agree with each other. Counts
are written in the order of time, as a fold writes them, so that the counts of a period are on few pages.

`{day}` is the day's beginning, as a timestamp; `{first}` and `{last}` number its sessions.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

DAYS: Final = 29
KEEP: Final = timedelta(days=30)
"""How long the service keeps sessions by default (`sessions.keep`): its partitions depend on it."""

EDGES: Final = 8
CHATS: Final = 5_000
CODES: Final = "ARRAY[1000, 1000, 1000, 1000, 1001, 1001, 1006, 1006, 1006, 3005]"

PARTITIONED: Final = (
    *("sessions", "connections", "subscriptions", "timeline", "channel_hours", "channel_days"),
    *("drops", "drop_codes", "drop_versions", "openings", "opening_versions", "refusal_counts", "refusals"),
)


class Table(NamedTuple):
    """The rows of one day for a table that is partitioned by time."""

    name: str
    rows: str


# A wave over the day: most come in the afternoon.
_SESSIONS: Final = """
SELECT md5('s' || n), CASE WHEN r.u < 0.03 THEN '' ELSE 'user-' || floor({users} * r.u ^ 1.5)::int END,
    CASE WHEN r.k < 0.8 THEN '' ELSE 'tablet' END,
    (ARRAY['js', 'js', 'swift', 'kotlin', 'python'])[1 + floor({users} * r.u ^ 1.5)::int % 5],
    '5.' || ({day_number} + (r.v * 4)::int) / 8, 'edge-' || 1 + n % {edges},
    md5('edge' || n % {edges} || '.' || {day_number} / 3),
    CASE WHEN m.connections = 1 THEN md5('s' || n) ELSE md5(md5('s' || n) || (m.connections - 1)) END,
    m.connections, t.at,
    CASE WHEN r.u < 0.03 THEN NULL ELSE md5('user-' || floor({users} * r.u ^ 1.5)::int || (r.k < 0.8)::text) END,
    e.at, CASE WHEN r.u >= 0.03 AND c.code > 1000 THEN e.at + interval '1 minute' END,
    CASE WHEN e.at IS NOT NULL THEN c.code END,
    CASE WHEN e.at IS NOT NULL AND c.code = 1006 THEN 'edge lost' ELSE '' END,
    CASE WHEN e.at IS NOT NULL THEN (ARRAY['client', 'drain', 'network', 'edge'])[1 + c.code % 4] ELSE '' END,
    '10.' || (r.u * 255)::int || '.' || (r.v * 255)::int || '.0',
    CASE WHEN m.connections > 1 THEN t.at + (m.connections - 1)
        * ((least(coalesce(e.at, {now}), {day} + interval '1 day') - t.at) / m.connections) END
FROM generate_series({first}, {last}) AS n
CROSS JOIN LATERAL (SELECT random() + n * 0 AS u, random() + n * 0 AS k, random() + n * 0 AS v, random() + n * 0 AS d) r
CROSS JOIN LATERAL (SELECT CASE WHEN r.k < 0.85 THEN 1 ELSE 2 + (r.v * 3)::int END AS connections) m
CROSS JOIN LATERAL (SELECT (n - {first})::float / ({last} - {first} + 1) AS x) p
CROSS JOIN LATERAL (SELECT {day} + interval '1 day' * least(p.x + 0.12 * sin(6.2832 * (p.x - 0.1)) + 0.071, 0.9999)
    AS at) t
CROSS JOIN LATERAL (SELECT t.at + CASE WHEN r.d < 0.7 THEN interval '1 hour' * r.v ^ 3 + interval '1 second'
    WHEN r.d < 0.97 THEN interval '1 hour' + interval '10 hours' * r.v ^ 2
    ELSE interval '1 day' + interval '6 days' * r.v ^ 2 END AS at) i
CROSS JOIN LATERAL (SELECT CASE WHEN i.at <= {now} THEN i.at END AS at) e
CROSS JOIN LATERAL (SELECT ({codes})[1 + floor(10 * r.d)::int] AS code) c
WHERE t.at <= {now}"""

_CONNECTIONS: Final = """
SELECT CASE WHEN i = 0 THEN s.id ELSE md5(s.id || i) END, s.id, s.edge, s.instance, o.at,
    CASE WHEN i + 1 < s.connections THEN o.at + o.stay * 0.99 ELSE s.ended_at END,
    CASE WHEN i + 1 < s.connections THEN 1006 ELSE s.end_code END, s.end_reason,
    CASE WHEN i + 1 < s.connections THEN 'network' ELSE s.end_by END, s.client_version,
    CASE WHEN i + 1 < s.connections AND s.id < '8' THEN '172.' || substr(s.address, 4) ELSE s.address END
FROM sessions_{suffix} s CROSS JOIN LATERAL generate_series(0, s.connections - 1) AS i
CROSS JOIN LATERAL (SELECT (least(coalesce(s.ended_at, {now}), {day} + interval '1 day') - s.opened_at)
    / s.connections AS stay) l
CROSS JOIN LATERAL (SELECT s.opened_at + i * l.stay AS at, l.stay) o"""

# One of twenty was in its channel twice.
_SUBSCRIPTIONS: Final = """
SELECT c.id, x.channel, c.opened_at, c.opened_at + x.since, c.opened_at + x.until, NULL::boolean
FROM (SELECT *, random() AS r, random() AS q FROM connections_{suffix}) c CROSS JOIN LATERAL (
    SELECT 'chat:' || floor({chats} * c.r ^ 2)::int AS channel, interval '50 ms' AS since, NULL::interval AS until
    UNION ALL SELECT 'chat:' || floor({chats} * c.r ^ 2)::int, interval '10 ms', interval '30 ms'
        WHERE c.q BETWEEN 0.5 AND 0.55
    UNION ALL SELECT 'news', interval '50 ms', NULL WHERE c.q < 0.2
    UNION ALL SELECT 'room:' || floor({users} * c.r / 5)::int, interval '50 ms', NULL WHERE c.q > 0.9) x"""

_TIMELINE: Final = """
SELECT c.id, 1::bigint, c.opened_at, json_build_array(
    json_build_object('type', 'opened', 'at', m.at, 'connection', c.id, 'user', 'user', 'client_name', 'js'),
    json_build_object('type', 'subscribed', 'at', m.at + 50, 'connection', c.id, 'channel', 'news'))
FROM connections_{suffix} c
CROSS JOIN LATERAL (SELECT floor(extract(epoch FROM c.opened_at) * 1000)::bigint AS at) m
WHERE c.session_id < '1'
UNION ALL
SELECT c.id, 2, c.closed_at, json_build_array(json_build_object('type', 'closed', 'at',
    floor(extract(epoch FROM c.closed_at) * 1000)::bigint, 'connection', c.id, 'code', c.close_code, 'by', c.close_by,
    'messages_out', 100))
FROM connections_{suffix} c WHERE c.session_id < '1' AND c.closed_at < {day} + interval '1 day'"""

_CHANNEL_HOURS: Final = """
SELECT channel, date_trunc('hour', since), count(*)::int, (count(*) / 2)::int, count(*) FROM subscriptions_{suffix}
WHERE since < {day} + interval '1 day' GROUP BY 1, 2"""

_CHANNEL_DAYS: Final = """
SELECT channel, date_trunc('day', hour), max(peak), (array_agg(hour ORDER BY peak DESC, hour))[1],
    sum(subscriptions)::bigint
FROM channel_hours_{suffix} GROUP BY 1, 2"""

_WIDTHS: Final = "(VALUES (60, 'minute'), (3600, 'hour'), (86400, 'day')) AS w(width, unit)"
_DROPS: Final = f"""
SELECT w.width, date_trunc(w.unit, c.closed_at) AS at, c.edge, c.close_code, c.close_by, s.client_name,
    s.client_version, count(*)
FROM connections_{{suffix}} c JOIN sessions_{{suffix}} s ON s.id = c.session_id CROSS JOIN {_WIDTHS}
WHERE c.closed_at < {{day}} + interval '1 day' GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 2, 1"""

_DROP_CODES: Final = """
SELECT width, at, code, by, sum(count)::bigint FROM drops_{suffix} GROUP BY 1, 2, 3, 4 ORDER BY 2, 1"""

_DROP_VERSIONS: Final = """
SELECT width, at, code, by, client_name, client_version, sum(count)::bigint FROM drops_{suffix}
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 2, 1"""

_OPENINGS: Final = f"""
SELECT w.width, date_trunc(w.unit, c.opened_at), c.edge, s.client_name, s.client_version, c.id <> s.id, count(*)
FROM connections_{{suffix}} c JOIN sessions_{{suffix}} s ON s.id = c.session_id CROSS JOIN {_WIDTHS}
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 2, 1"""

_OPENING_VERSIONS: Final = """
SELECT width, at, client_name, client_version, sum(count)::bigint FROM openings_{suffix}
GROUP BY 1, 2, 3, 4 ORDER BY 2, 1"""

_REFUSALS: Final = """
SELECT nextval(pg_get_serial_sequence('refusals', 'number')), opened_at, edge, instance, 'connect', 3500,
    'invalid token', md5(id), user_id, '', client_name, client_version, address, 1::bigint
FROM sessions_{suffix} WHERE id < '04'"""

_REFUSAL_COUNTS: Final = f"""
SELECT w.width, date_trunc(w.unit, r.at), r.edge, r.action, r.code, sum(r.count)::bigint
FROM refusals_{{suffix}} r CROSS JOIN {_WIDTHS} GROUP BY 1, 2, 3, 4, 5"""

OF_A_DAY: Final = (
    Table("sessions", _SESSIONS),
    Table("connections", _CONNECTIONS),
    Table("subscriptions", _SUBSCRIPTIONS),
    Table("timeline", _TIMELINE),
    Table("channel_hours", _CHANNEL_HOURS),
    Table("channel_days", _CHANNEL_DAYS),
    Table("drops", _DROPS),
    Table("drop_codes", _DROP_CODES),
    Table("drop_versions", _DROP_VERSIONS),
    Table("openings", _OPENINGS),
    Table("opening_versions", _OPENING_VERSIONS),
    Table("refusals", _REFUSALS),
    Table("refusal_counts", _REFUSAL_COUNTS),
)
"""In this order, as later statements read the rows of earlier ones."""

OF_THE_MONTH: Final = (
    """INSERT INTO user_devices SELECT user_id, session_key, client_name, client_version, min(opened_at),
    max(coalesce(ended_at, opened_at)), count(*), sum(connections) FROM sessions WHERE user_id <> ''
    GROUP BY 1, 2, 3, 4""",
    """INSERT INTO channels SELECT channel, (max(peak) * 0.4)::int, max(peak), max(hour), sum(subscriptions), min(hour),
    max(hour) FROM channel_hours GROUP BY 1""",
    """INSERT INTO edges SELECT instance, edge, '1.' || row_number() OVER (ORDER BY min(opened_at)) / 8, min(opened_at),
    max(opened_at), min(opened_at), NULL, CASE WHEN max(opened_at) < now() - interval '3 days' THEN max(opened_at) END,
    NULL, count(*), count(closed_at) FROM connections GROUP BY 1, 2""",
    # Some are away now, for as long as the measurement takes.
    """UPDATE sessions SET away_until = now() + interval '1 day' WHERE opened_at > now() - interval '1 day'
    AND ended_at > now() - interval '3 minutes' AND away_until IS NOT NULL""",
)


def of_day(table: Table, day_number: int, suffix: str, day: str, now: str, sessions: int) -> str:
    """The statement that gives a table its rows of one day. `sessions`: of the whole month; `day` and `now` are
    timestamps, in ISO 8601."""
    per_day = sessions // DAYS
    first, users = day_number * per_day + 1, max(100, sessions // 8)
    values = {
        "day_number": day_number, "suffix": suffix, "day": f"timestamptz '{day}'", "now": f"timestamptz '{now}'",
        "first": first, "last": first + per_day - 1, "users": users, "edges": EDGES, "chats": CHATS, "codes": CODES,
    }  # fmt: skip
    return table.rows.format_map(values)
