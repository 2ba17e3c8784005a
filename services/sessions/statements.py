"""The SQL of positions, and of the rows that a fold needs. Statements take arrays, so that a batch of any size needs
few round trips. `statements_writing` has the statements that write rows."""

from __future__ import annotations

from typing import Final

DIGEST: Final = r"sha256(decode(replace(user_id, '\', '\\'), 'escape'))"
"""The digest of a user's id in UTF-8, as in `proto.events.user_digest`. The expression is that of the index of
refusals, which cannot use PostgreSQL's own conversion, as that is not immutable."""

SESSION_COLUMNS: Final = (
    "id, user_id, session_key, client_name, client_version, edge, instance, connection, connections, opened_at, "
    "lineage, ended_at, away_until, end_code, end_reason, end_by, address, connected_at"
)
CONNECTION_COLUMNS: Final = (
    "id, session_id, edge, instance, opened_at, closed_at, close_code, close_reason, close_by, client_version, address"
)
SUBSCRIPTION_COLUMNS: Final = "connection, channel, opened_at, since, until, recovered"
END: Final = "COALESCE(until, 'infinity')"
"""When a subscription ended by itself. The expression is that of the index by connection, where open subscriptions come
last."""

PLANNED_FOR_VALUES: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
"""For a transaction whose statements are planned anew each time, for their values."""
PLANNED_ONCE: Final = "SET LOCAL plan_cache_mode = force_generic_plan"
"""The opposite, one plan for all values: planning for all partitions may take longer than reading the rows."""

# --- position ---------------------------------------------------------------------------------------------------------

POSITION: Final = "SELECT epoch, sequence, generation FROM projections WHERE name = $1"

# Creates the row if it is missing, and locks it: the second of two instances waits here, and then sees that the
# position has moved.
LOCK_POSITION: Final = """
INSERT INTO projections AS p (name, epoch, sequence, moved_at) VALUES ($1, '', 0, now())
ON CONFLICT (name) DO UPDATE SET name = p.name
RETURNING epoch, sequence, generation"""

# Rows changed under the lock of the position, which did not move: rows that other processes keep in memory are void.
NEXT_GENERATION: Final = "UPDATE projections SET generation = generation + 1 WHERE name = $1"

MOVE_POSITIONS: Final = """
INSERT INTO projections AS p (name, epoch, sequence, moved_at)
SELECT m.name, $2, $3, now() FROM unnest($1::text[]) AS m(name)
ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence, moved_at = excluded.moved_at"""

NUMBERS: Final = "SELECT instance, number FROM log_writers WHERE instance = ANY($1::text[])"
WRITERS: Final = "SELECT instance, number FROM log_writers WHERE starts_with(instance, $1)"

KEEP_NUMBERS: Final = """
INSERT INTO log_writers (instance, edge, number, wrote_at)
SELECT w.*, now() FROM unnest($1::text[], $2::text[], $3::bigint[]) AS w
ON CONFLICT (instance) DO UPDATE SET number = excluded.number, wrote_at = excluded.wrote_at"""

# Goes from instance to instance in the index instead of reading every open connection.
OPEN_INSTANCES: Final = """
WITH RECURSIVE found(instance) AS (
    (SELECT instance FROM connections WHERE closed_at IS NULL ORDER BY instance LIMIT 1)
    UNION ALL
    SELECT (SELECT c.instance FROM connections c
            WHERE c.closed_at IS NULL AND c.instance > found.instance ORDER BY c.instance LIMIT 1)
    FROM found WHERE found.instance IS NOT NULL
)
SELECT instance FROM found WHERE instance IS NOT NULL"""

# An edge with a start, and neither a stop nor a loss, runs, however long it is idle.
RUNS: Final = "started_at IS NOT NULL AND stopped_at IS NULL AND lost_at IS NULL"
RUNNING_INSTANCES: Final = f"SELECT instance FROM edges WHERE {RUNS}"

# --- the rows that a batch may touch ----------------------------------------------------------------------------------

CONNECTIONS_OF_BATCH: Final = f"""
SELECT {CONNECTION_COLUMNS} FROM connections WHERE id = ANY($1::text[])
UNION ALL
SELECT {CONNECTION_COLUMNS} FROM connections WHERE instance = ANY($2::text[]) AND closed_at IS NULL
UNION ALL
SELECT {CONNECTION_COLUMNS} FROM connections
WHERE instance = ANY($3::text[]) AND close_code = 1006 AND close_reason = 'edge lost'"""

CONNECTIONS_OF_SESSIONS: Final = f"SELECT {CONNECTION_COLUMNS} FROM connections WHERE session_id = ANY($1::text[])"
OPEN_OF_SESSIONS: Final = f"{CONNECTIONS_OF_SESSIONS} AND closed_at IS NULL"

SESSIONS: Final = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE id = ANY($1::text[])"

# Sessions that a connection of the batch may continue. The batch opens connections of a lineage between first_at and
# last_at. An early connection may continue a session whose window ends between the two; of the sessions whose window
# ends later, n are enough for all connections.
AWAY_SESSIONS: Final = f"""
SELECT s.* FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::int[]) AS o(lineage, first_at, last_at, n)
CROSS JOIN LATERAL (
    (SELECT {SESSION_COLUMNS} FROM sessions
     WHERE lineage = o.lineage AND away_until >= o.first_at AND away_until < o.last_at)
    UNION ALL
    (SELECT {SESSION_COLUMNS} FROM sessions
     WHERE lineage = o.lineage AND away_until >= o.last_at ORDER BY away_until, id LIMIT o.n)
) AS s"""

# Sessions that may turn out to continue a session that ends in the batch.
LATER_SESSIONS: Final = f"""
SELECT {", ".join(f"s.{name}" for name in SESSION_COLUMNS.split(", "))}
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS e(lineage, first_at, last_at)
JOIN sessions s ON s.lineage = e.lineage AND s.opened_at >= e.first_at AND s.opened_at <= e.last_at"""
