"""Reads the whole read model back, as the fold's own rows."""

from __future__ import annotations

import os
from typing import Any

import asyncpg
from msgspec.json import Decoder

from proto.events import OfConnection, Refused
from services.chassis.postgres.pool import Pool
from services.sessions import statements as sql
from services.sessions import statements_writing as writing
from services.sessions.dead_letters_postgres import DeadLetters
from services.sessions.entries import DeadLetter
from services.sessions.rows import (
    ChannelHour,
    DropKey,
    OpeningKey,
    Refusal,
    RefusalKey,
    TimelineEntry,
    UserDevice,
)
from services.sessions.rows_postgres import (
    channel_of,
    connection_of,
    edge_of,
    milliseconds,
    session_of,
    subscription_of,
)
from services.sessions.state import State

_decode_facts = Decoder(list[OfConnection | Refused]).decode


# What is added up from other rows as these are written: no fold has it.
_ADDED_UP = {
    "SELECT channel, day, peak, peak_hour, subscriptions FROM channel_days": """
        SELECT channel, date_trunc('day', hour, 'UTC'), max(peak), (array_agg(hour ORDER BY peak DESC, hour))[1],
            sum(subscriptions)::bigint FROM channel_hours GROUP BY 1, 2""",
    "SELECT width, at, code, by, count FROM drop_codes WHERE count <> 0": """
        SELECT width, at, code, by, sum(count)::bigint FROM drops GROUP BY 1, 2, 3, 4 HAVING sum(count) <> 0""",
    "SELECT width, at, code, by, client_name, client_version, count FROM drop_versions WHERE count <> 0": """
        SELECT width, at, code, by, client_name, client_version, sum(count)::bigint FROM drops
        GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(count) <> 0""",
    "SELECT width, at, client_name, client_version, count FROM opening_versions WHERE count <> 0": """
        SELECT width, at, client_name, client_version, sum(count)::bigint FROM openings
        GROUP BY 1, 2, 3, 4 HAVING sum(count) <> 0""",
}


async def read_rows(url: str) -> State:
    state = State(0)
    database = await asyncpg.connect(url)

    async def rows_of(table: str, columns: str) -> list[Any]:
        return await database.fetch(f"SELECT {columns} FROM {table}")

    try:
        for row in await rows_of("sessions", sql.SESSION_COLUMNS):
            state.put_session(session_of(row))
        for row in await rows_of("connections", sql.CONNECTION_COLUMNS):
            state.put_connection(connection_of(row))
        for row in await rows_of("subscriptions", sql.SUBSCRIPTION_COLUMNS):
            subscription = subscription_of(row)
            assert subscription.until is not None or row["channel"] not in state.subscriptions.of(row["connection"])
            state.subscriptions.put(subscription)
        for name, number, at, facts in await rows_of("timeline", writing.TIMELINE_COLUMNS):
            entry = state.timeline.setdefault((name, number), TimelineEntry(name, number, milliseconds(at), []))
            entry.facts.extend(_decode_facts(facts))  # two edges may write of a connection in batches of one number
        for user, key, client, version, first, last, *counts in await rows_of(
            "user_devices", writing.USER_DEVICE_COLUMNS
        ):
            device = UserDevice(user, key, client, version, milliseconds(first), milliseconds(last), *counts)
            state.users[device.user, device.session_key, device.client_name, device.client_version] = device
        for row in await rows_of("channels", writing.CHANNEL_COLUMNS):
            state.channels[row["name"]] = channel_of(row)
        for channel, hour, *rest in await rows_of("channel_hours", writing.CHANNEL_HOUR_COLUMNS):
            begin = milliseconds(hour)
            state.channel_hours[channel, begin] = ChannelHour(channel, begin, *rest)
        for row in await rows_of("edges", writing.EDGE_COLUMNS):
            state.edges[row["instance"]] = edge_of(row)
        for width, at, *rest, count in await rows_of("drops", writing.DROP_COLUMNS):
            state.drops[DropKey(width * 1000, milliseconds(at), *rest)] = count
        for width, at, *rest, count in await rows_of("openings", writing.OPENING_COLUMNS):
            state.openings[OpeningKey(width * 1000, milliseconds(at), *rest)] = count
        for width, at, *rest, count in await rows_of("refusal_counts", writing.REFUSAL_COUNT_COLUMNS):
            state.refusal_counts[RefusalKey(width * 1000, milliseconds(at), *rest)] = count
        for at, *rest in await rows_of("refusals", writing.REFUSAL_COLUMNS):
            state.refusals.append(Refusal(milliseconds(at), *rest))
        for digest, at in await rows_of("erasures", "user_digest, at"):
            state.know_erasures({digest: milliseconds(at)})
        for table, added_up in _ADDED_UP.items():
            one, other = await database.fetch(table), await database.fetch(added_up)
            assert sorted(map(tuple, one)) == sorted(map(tuple, other)), table
    finally:
        await database.close()
    return state


async def read_letters(url: str) -> list[DeadLetter]:
    """All dead letters with their data, oldest first."""
    async with Pool(url, 1) as pool:
        kept = DeadLetters(pool)
        return [whole for each in await kept.all() if (whole := await kept.whole(each)) is not None]


async def read_archive(url: str) -> dict[tuple[str, int], bytes]:
    """The archived messages, by epoch and sequence."""
    database = await asyncpg.connect(url)
    try:
        rows = await database.fetch("SELECT epoch, sequence, data FROM log_archive")
        return {(row["epoch"], row["sequence"]): row["data"] for row in rows}
    finally:
        await database.close()


async def execute(url: str, *statements: str) -> None:
    """What an operator does by hand."""
    database = await asyncpg.connect(url)
    try:
        for statement in statements:
            await database.execute(statement)
    finally:
        await database.close()


_OWN_THE_TABLES = """
DO $$ DECLARE t text; BEGIN
    FOR t IN SELECT oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {name}', t);
    END LOOP;
END $$"""


async def as_ordinary_user(url: str) -> str:
    """The URL of the database for a user who owns it and its tables, and may be refused things, as the superuser may
    not."""
    name, password = f"app_{os.urandom(4).hex()}", "a-password-of-the-tests"
    server, _, database = url.rpartition("/")
    await execute(
        url,
        f"CREATE ROLE {name} LOGIN PASSWORD '{password}'",
        f'ALTER DATABASE "{database}" OWNER TO {name}',
        _OWN_THE_TABLES.format(name=name),
    )
    return f"postgresql://{name}:{password}@{server.rpartition('@')[2]}/{database}"
