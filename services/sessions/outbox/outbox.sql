-- The outbox of Fairlead (docs/outbox.md), version 1: two tables, two functions, a trigger. For PostgreSQL 14 and later.
-- Run it once in the application's database, as a migration of the application or by
-- `python -m services.sessions outbox install`. Running it again changes nothing.

CREATE TABLE IF NOT EXISTS fairlead_outbox (
    -- The order within a channel.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The publication's idempotency key: unlike `id`, it is never used again after a backup is restored.
    message_id uuid NOT NULL DEFAULT gen_random_uuid(),
    channel text NOT NULL CHECK (char_length(channel) BETWEEN 1 AND 320),
    -- What is published: JSON, or any bytes for clients that speak Protobuf.
    data json,
    data_binary bytea,
    -- Passed to subscribers with the data: a JSON object of strings.
    tags json CHECK (json_typeof(tags) = 'object'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When a relay first began to publish the row, if it may have been published since then. Only for relays.
    tried_at timestamptz,
    -- Only one relay works on a slot at a time, which keeps the order within each channel.
    slot smallint NOT NULL GENERATED ALWAYS AS ((hashtext(channel) & 63)::smallint) STORED,
    CHECK (num_nonnulls(data, data_binary) = 1)
) WITH (
    -- Half of each page is left free for writing `tried_at`, so that this writes no index.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000
);

CREATE INDEX IF NOT EXISTS fairlead_outbox_slot ON fairlead_outbox (slot, id);

-- Rows that cannot be published, with the reason. `python -m services.sessions outbox` lists, replays and deletes them.
CREATE TABLE IF NOT EXISTS fairlead_outbox_set_aside (
    id bigint PRIMARY KEY,
    message_id uuid NOT NULL,
    channel text NOT NULL,
    data json,
    data_binary bytea,
    tags json,
    created_at timestamptz NOT NULL,
    code integer NOT NULL,
    reason text NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Publishes `data` to `channel` when the transaction commits. Returns the row's id.
CREATE OR REPLACE FUNCTION fairlead_publish(channel text, data jsonb, tags jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE sql AS $$
    INSERT INTO fairlead_outbox (channel, data, tags) VALUES ($1, $2::json, $3::json) RETURNING id
$$;

-- Wakes the relays when a transaction commits. Without it they look for rows every outbox.poll_interval.
CREATE OR REPLACE FUNCTION fairlead_outbox_notify() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('fairlead_outbox', '');
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER fairlead_outbox_notify AFTER INSERT ON fairlead_outbox
FOR EACH STATEMENT EXECUTE FUNCTION fairlead_outbox_notify();
