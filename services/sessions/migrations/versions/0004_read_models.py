"""The read models of the whole life of sessions, and tables that are partitioned by time.

Existing rows move into the new tables, with a partition for each week, and fill the models that can be filled from
them. Data that only the log has (timelines, refusals, versions of each connection, drains) begins now, or is rebuilt
from the log.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

_MOVED = ("sessions", "connections", "subscriptions")
_BY_TIME = (
    "sessions", "connections", "subscriptions", "timeline", "channel_hours", "channel_days", "drops", "drop_codes",
    "drop_versions", "openings", "opening_versions", "refusal_counts", "refusals", "log_archive",
)  # fmt: skip

_TABLES = r"""
CREATE TABLE sessions (
    id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    session_key TEXT COLLATE "C" NOT NULL,
    client_name TEXT COLLATE "C" NOT NULL,
    client_version TEXT COLLATE "C" NOT NULL,
    edge TEXT COLLATE "C" NOT NULL,
    instance TEXT COLLATE "C" NOT NULL,
    connection TEXT COLLATE "C" NOT NULL,
    connections INTEGER NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    lineage TEXT COLLATE "C",
    ended_at TIMESTAMP WITH TIME ZONE,
    away_until TIMESTAMP WITH TIME ZONE,
    end_code INTEGER,
    end_reason TEXT COLLATE "C" NOT NULL,
    end_by TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    connected_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id, opened_at)
) PARTITION BY RANGE (opened_at);
CREATE INDEX sessions_away ON sessions (away_until) WHERE away_until IS NOT NULL;
CREATE INDEX sessions_away_by_lineage ON sessions (lineage, away_until) WHERE away_until IS NOT NULL;
CREATE INDEX sessions_by_address ON sessions (address, opened_at, id) WHERE address <> '';
CREATE INDEX sessions_by_edge ON sessions (edge, opened_at, id);
CREATE INDEX sessions_by_end ON sessions (end_code, opened_at, id) WHERE end_code IS NOT NULL;
CREATE INDEX sessions_by_lineage ON sessions (lineage, opened_at) WHERE lineage IS NOT NULL;
CREATE INDEX sessions_by_time ON sessions (opened_at, id);
CREATE INDEX sessions_by_user ON sessions (user_id, opened_at, id) INCLUDE (ended_at);
CREATE INDEX sessions_by_version ON sessions (client_name, client_version, opened_at, id);
CREATE INDEX sessions_long ON sessions (opened_at, id, ended_at)
    WHERE ended_at - opened_at > '1 day'::interval AND ended_at - opened_at <= '8 days'::interval;
CREATE INDEX sessions_medium ON sessions (opened_at, id, ended_at)
    WHERE ended_at - opened_at > '01:00:00'::interval AND ended_at - opened_at <= '1 day'::interval;
CREATE INDEX sessions_open ON sessions (opened_at, id) INCLUDE (client_name, client_version) WHERE ended_at IS NULL;
CREATE INDEX sessions_short ON sessions (opened_at, id, ended_at)
    WHERE ended_at - opened_at <= '01:00:00'::interval;
CREATE INDEX sessions_very_long ON sessions (opened_at, id, ended_at) WHERE ended_at - opened_at > '8 days'::interval;

CREATE TABLE connections (
    id TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C" NOT NULL,
    edge TEXT COLLATE "C" NOT NULL,
    instance TEXT COLLATE "C" NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    close_code INTEGER,
    close_reason TEXT COLLATE "C" NOT NULL,
    close_by TEXT COLLATE "C" NOT NULL,
    client_version TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (id, opened_at)
) PARTITION BY RANGE (opened_at);
CREATE INDEX connections_by_session ON connections (session_id);
CREATE INDEX connections_lasting ON connections (opened_at, id) INCLUDE (closed_at)
    WHERE closed_at IS NULL OR closed_at - opened_at > '01:00:00'::interval;
CREATE INDEX connections_lost_by_instance ON connections (instance)
    WHERE close_code = 1006 AND close_reason = 'edge lost';
CREATE INDEX connections_open_by_instance ON connections (instance) WHERE closed_at IS NULL;

CREATE TABLE subscriptions (
    connection TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    until TIMESTAMP WITH TIME ZONE,
    recovered BOOLEAN,
    PRIMARY KEY (channel, since, connection, opened_at) INCLUDE (until)
) PARTITION BY RANGE (opened_at);
CREATE INDEX subscriptions_by_connection ON subscriptions (connection, COALESCE(until, 'infinity'));

CREATE TABLE timeline (
    connection TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    facts JSON NOT NULL,
    PRIMARY KEY (connection, number, at)
) PARTITION BY RANGE (at);

CREATE TABLE user_devices (
    user_id TEXT COLLATE "C" NOT NULL,
    session_key TEXT COLLATE "C" NOT NULL,
    client_name TEXT COLLATE "C" NOT NULL,
    client_version TEXT COLLATE "C" NOT NULL,
    first_seen TIMESTAMP WITH TIME ZONE NOT NULL,
    last_seen TIMESTAMP WITH TIME ZONE NOT NULL,
    sessions BIGINT NOT NULL,
    connections BIGINT NOT NULL,
    PRIMARY KEY (user_id, session_key, client_name, client_version)
);
CREATE INDEX user_devices_by_time ON user_devices (last_seen);

CREATE TABLE channels (
    name TEXT COLLATE "C" NOT NULL,
    subscribers INTEGER NOT NULL,
    peak INTEGER NOT NULL,
    peak_at TIMESTAMP WITH TIME ZONE NOT NULL,
    subscriptions BIGINT NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    steps TEXT COLLATE "C" DEFAULT '[]' NOT NULL,
    PRIMARY KEY (name)
);
CREATE INDEX channels_by_end ON channels (reverse(name)) WHERE strpos(name, '#') > 0;
CREATE INDEX channels_by_subscribers ON channels (subscribers, name);
CREATE INDEX channels_by_peak ON channels (peak, name);
CREATE INDEX channels_by_time ON channels (last_at);

CREATE TABLE channel_hours (
    channel TEXT COLLATE "C" NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    peak INTEGER NOT NULL,
    last INTEGER NOT NULL,
    subscriptions BIGINT NOT NULL,
    PRIMARY KEY (channel, hour)
) PARTITION BY RANGE (hour);
CREATE INDEX channel_hours_by_peak ON channel_hours (hour, peak DESC) INCLUDE (channel);

CREATE TABLE channel_days (
    channel TEXT COLLATE "C" NOT NULL,
    day TIMESTAMP WITH TIME ZONE NOT NULL,
    peak INTEGER NOT NULL,
    peak_hour TIMESTAMP WITH TIME ZONE NOT NULL,
    subscriptions BIGINT NOT NULL,
    PRIMARY KEY (channel, day)
) PARTITION BY RANGE (day);
CREATE INDEX channel_days_by_peak ON channel_days (day, peak DESC) INCLUDE (channel, peak_hour);

CREATE TABLE drops (
    width INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    edge TEXT COLLATE "C" NOT NULL,
    code INTEGER NOT NULL,
    by TEXT COLLATE "C" NOT NULL,
    client_name TEXT COLLATE "C" NOT NULL,
    client_version TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (width, at, edge, code, by, client_name, client_version)
) PARTITION BY RANGE (at);

CREATE TABLE drop_codes (
    width INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    code INTEGER NOT NULL,
    by TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (width, at, code, by)
) PARTITION BY RANGE (at);

CREATE TABLE drop_versions (
    width INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    code INTEGER NOT NULL,
    by TEXT COLLATE "C" NOT NULL,
    client_name TEXT COLLATE "C" NOT NULL,
    client_version TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (width, at, code, by, client_name, client_version)
) PARTITION BY RANGE (at);

CREATE TABLE openings (
    width INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    edge TEXT COLLATE "C" NOT NULL,
    client_name TEXT COLLATE "C" NOT NULL,
    client_version TEXT COLLATE "C" NOT NULL,
    resumed BOOLEAN NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (width, at, edge, client_name, client_version, resumed)
) PARTITION BY RANGE (at);

CREATE TABLE opening_versions (
    width INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    client_name TEXT COLLATE "C" NOT NULL,
    client_version TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (width, at, client_name, client_version)
) PARTITION BY RANGE (at);

CREATE TABLE refusal_counts (
    width INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    edge TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    code INTEGER NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (width, at, edge, action, code)
) PARTITION BY RANGE (at);

CREATE TABLE refusals (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    edge TEXT COLLATE "C" NOT NULL,
    instance TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    code INTEGER NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    connection TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    client_name TEXT COLLATE "C" NOT NULL,
    client_version TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (number, at)
) PARTITION BY RANGE (at);
CREATE INDEX refusals_by_time ON refusals (at) INCLUDE (user_id, action, code, count);
CREATE INDEX refusals_by_user ON refusals (user_id, at) WHERE user_id <> '';
CREATE INDEX refusals_by_digest ON refusals (sha256(decode(replace(user_id, '\', '\\'), 'escape')))
    WHERE user_id <> '';
CREATE INDEX refusals_by_connection ON refusals (connection) WHERE user_id = '' AND connection <> '';
CREATE INDEX refusals_by_channel_end ON refusals (reverse(channel)) WHERE strpos(channel, '#') > 0;

CREATE TABLE edges (
    instance TEXT COLLATE "C" NOT NULL,
    edge TEXT COLLATE "C" NOT NULL,
    software TEXT COLLATE "C" NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    draining_at TIMESTAMP WITH TIME ZONE,
    stopped_at TIMESTAMP WITH TIME ZONE,
    lost_at TIMESTAMP WITH TIME ZONE,
    opened BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    PRIMARY KEY (instance)
);
CREATE INDEX edges_by_time ON edges (last_at);

CREATE TABLE log_archive (
    epoch TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    stored_at TIMESTAMP WITH TIME ZONE NOT NULL,
    writer TEXT COLLATE "C" NOT NULL,
    data BYTEA NOT NULL,
    stands_in BOOLEAN NOT NULL DEFAULT false,
    PRIMARY KEY (epoch, sequence, stored_at)
) PARTITION BY RANGE (stored_at);
CREATE INDEX log_archive_standing_in ON log_archive (stored_at) WHERE stands_in;

CREATE TABLE erasures (
    user_digest TEXT COLLATE "C" NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (user_digest)
);

CREATE TABLE overtaken_messages (
    epoch TEXT COLLATE "C" NOT NULL,
    messages BIGINT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    noticed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (epoch)
);

CREATE TABLE erased_connections (
    user_digest TEXT COLLATE "C" NOT NULL,
    connection BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (user_digest, connection)
);

CREATE TABLE heard_edges (
    instance TEXT COLLATE "C" NOT NULL,
    edge TEXT COLLATE "C" NOT NULL,
    heard_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (instance)
);
"""

_DEFAULT = "CREATE TABLE {0}_default PARTITION OF {0} DEFAULT"

# A partition for each week (from a Monday on, in UTC) with rows. Clocks may have been wrong: rows beyond the newest 520
# weeks go into the default partition, as this transaction takes a lock for every partition.
_WEEKS = """
DO $$
DECLARE week timestamptz; name text;
BEGIN
    FOR week IN
        SELECT DISTINCT date_trunc('week', opened_at, 'UTC') AS monday FROM old_connections
        WHERE opened_at < now() + interval '7 days' ORDER BY monday DESC LIMIT 520
    LOOP
        FOREACH name IN ARRAY ARRAY['sessions', 'connections', 'subscriptions'] LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                name || '_p' || to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD'), name, week, week + interval '7 days'
            );
        END LOOP;
    END LOOP;
END $$"""

_LOST = "close_code = 1006 AND close_reason = 'edge lost'"

_WIDTHS = "(VALUES (60, 'minute'), (3600, 'hour'), (86400, 'day')) AS w(width, unit)"

_MOVE = (
    """INSERT INTO sessions SELECT id, user_id, session_key, client_name, client_version, edge, instance, connection,
        connections, opened_at, lineage, ended_at, away_until, end_code, end_reason,
        CASE WHEN end_code = 1006 AND end_reason = 'edge lost' THEN 'loss' ELSE '' END, '',
        CASE WHEN s.connections > 1 THEN (SELECT c.opened_at FROM old_connections c WHERE c.id = s.connection) END
        FROM old_sessions s""",
    f"""INSERT INTO connections SELECT c.id, c.session_id, c.edge, c.instance, c.opened_at, c.closed_at, c.close_code,
        c.close_reason, CASE WHEN {_LOST} THEN 'loss' ELSE '' END, COALESCE(s.client_version, ''), ''
        FROM old_connections c LEFT JOIN old_sessions s ON s.id = c.session_id""",
    """INSERT INTO subscriptions SELECT s.connection, s.channel, c.opened_at, s.since, s.until, s.recovered
        FROM old_subscriptions s JOIN old_connections c ON c.id = s.connection""",
    """INSERT INTO user_devices SELECT s.user_id, s.session_key, s.client_name, s.client_version, min(s.opened_at),
        max(GREATEST(s.opened_at, s.ended_at, c.opened_at, c.closed_at)), count(DISTINCT s.id), count(c.id)
        FROM sessions s LEFT JOIN connections c ON c.session_id = s.id WHERE s.user_id <> '' GROUP BY 1, 2, 3, 4""",
    # Of each connection and channel the latest subscription is known. It ends with its connection.
    """WITH known AS (
        SELECT s.connection, s.channel, s.since, LEAST(s.until, c.closed_at) AS ended
        FROM subscriptions s JOIN connections c ON c.id = s.connection
    ), steps AS (
        SELECT channel, connection, since AS at, 1 AS step FROM known
        UNION ALL SELECT channel, connection, GREATEST(since, ended), -1 FROM known WHERE ended IS NOT NULL
    ), running AS MATERIALIZED (
        SELECT channel, at, step, connection,
            sum(step) OVER (PARTITION BY channel ORDER BY at, step DESC, connection ROWS UNBOUNDED PRECEDING) AS now
        FROM steps
    ), hours AS (
        INSERT INTO channel_hours SELECT channel, date_trunc('hour', at, 'UTC'), max(GREATEST(now, now - step)),
            (array_agg(now ORDER BY at DESC, step, connection DESC))[1], count(*) FILTER (WHERE step = 1)
        FROM running GROUP BY 1, 2
    ) INSERT INTO channels SELECT channel, sum(step), max(now), (array_agg(at ORDER BY now DESC, at))[1],
        count(*) FILTER (WHERE step = 1), min(at), max(at) FROM running GROUP BY 1""",
    """INSERT INTO channel_days SELECT channel, date_trunc('day', hour, 'UTC'), max(peak),
        (array_agg(hour ORDER BY peak DESC, hour))[1], sum(subscriptions) FROM channel_hours GROUP BY 1, 2""",
    f"""INSERT INTO drops SELECT w.width, date_trunc(w.unit, c.closed_at, 'UTC'), c.edge, c.close_code, c.close_by,
        COALESCE(s.client_name, ''), c.client_version, count(*)
        FROM connections c LEFT JOIN sessions s ON s.id = c.session_id CROSS JOIN {_WIDTHS}
        WHERE c.closed_at IS NOT NULL AND c.close_code IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7""",
    "INSERT INTO drop_codes SELECT width, at, code, by, sum(count) FROM drops GROUP BY 1, 2, 3, 4",
    """INSERT INTO drop_versions SELECT width, at, code, by, client_name, client_version, sum(count) FROM drops
        GROUP BY 1, 2, 3, 4, 5, 6""",
    f"""INSERT INTO openings SELECT w.width, date_trunc(w.unit, c.opened_at, 'UTC'), c.edge,
        COALESCE(s.client_name, ''), c.client_version, c.id <> c.session_id, count(*)
        FROM connections c LEFT JOIN sessions s ON s.id = c.session_id CROSS JOIN {_WIDTHS}
        GROUP BY 1, 2, 3, 4, 5, 6""",
    """INSERT INTO opening_versions SELECT width, at, client_name, client_version, sum(count) FROM openings
        GROUP BY 1, 2, 3, 4""",
    f"""INSERT INTO edges SELECT instance, min(edge), '', min(opened_at), max(GREATEST(opened_at, closed_at)),
        NULL, NULL, NULL, max(closed_at) FILTER (WHERE {_LOST}), count(*), count(closed_at)
        FROM connections GROUP BY 1""",
    """INSERT INTO projections SELECT m.name || '-1', p.epoch, p.sequence, p.moved_at FROM projections p, unnest(
        ARRAY['timeline', 'users', 'channels', 'drops', 'versions', 'refusals', 'edges']) AS m(name)
        WHERE p.name = 'sessions-1'""",
)


def upgrade() -> None:
    op.execute("ALTER TABLE projections ADD COLUMN generation BIGINT NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE dead_letters ADD COLUMN newer BOOLEAN NOT NULL DEFAULT false")
    for name in _MOVED:
        op.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
        op.execute(f"ALTER TABLE old_{name} RENAME CONSTRAINT {name}_pkey TO old_{name}_pkey")
    for name in (
        "connections_by_session", "connections_lost_by_instance", "connections_open_by_instance", "sessions_away",
        "sessions_by_lineage", "sessions_by_time", "sessions_by_user", "sessions_open_by_edge",
    ):  # fmt: skip
        op.execute(f"DROP INDEX {name}")
    statements = [each.strip() for each in _TABLES.split(";\n") if each.strip()]
    indexes = [each for each in statements if each.startswith("CREATE INDEX")]
    for statement in statements:
        if statement not in indexes:
            op.execute(statement)
    for name in _BY_TIME:
        op.execute(_DEFAULT.format(name))
    op.execute(_WEEKS)
    for statement in _MOVE:
        op.execute(statement)
    for statement in indexes:  # faster than row by row
        op.execute(statement)
    for name in _MOVED:
        op.execute(f"DROP TABLE old_{name}")


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the database that was made before the upgrade")
