"""Each filter leads to its index: the plans for a full table, told to PostgreSQL without filling one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sessions.api.channel_search_postgres import channel_to_search
from services.sessions.api.filters import Filters
from services.sessions.api.sessions_sql import Bound, Found, select, where
from services.sessions.queries.places import Place
from services.sessions.values import after_prefix
from tests.support.servers import Postgres

AT = datetime(2026, 11, 29, 14, 2, tzinfo=UTC)

LENGTHS = {"short", "medium", "long", "very_long"}
INDEXES = {
    "any": (Filters(), {"time"}),
    "period": (Filters(since=AT), {"time"}),
    "user": (Filters(user="ann"), {"user"}),
    "anonymous and open": (Filters(user="", state="open"), {"open"}),
    "anonymous then": (Filters(user="", at=AT), {*LENGTHS, "open"}),
    "user and state": (Filters(user="ann", state="away"), {"user", "away"}),
    "user then": (Filters(user="ann", at=AT), {"user"}),
    "edge": (Filters(edge="edge-1"), {"edge"}),
    "code": (Filters(end_code=1006), {"end"}),
    "version": (Filters(client_name="web", client_version="1.0"), {"version"}),
    "open": (Filters(state="open"), {"open"}),
    "away": (Filters(state="away"), {"away"}),
    "ended": (Filters(state="ended"), LENGTHS),
    "then": (Filters(at=AT), {*LENGTHS, "open"}),
    "then on an edge": (Filters(at=AT, edge="edge-1"), {*LENGTHS, "open", "edge"}),
}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_prefix_is_a_range(prefix: str, text: str) -> None:
    end = after_prefix(prefix)
    assert text.startswith(prefix) == (text >= prefix and (not end or text < end))


def test_anonymous_clients_are_not_searched_for_as_one_user_with_few_sessions() -> None:
    for user, branches, away_first in (("", 5, True), ("ann", 1, False)):
        assert select(Filters(user=user, at=AT)).sql.count("UNION ALL") == branches - 1
        assert (") AS away" in select(Filters(user=user, state="away")).sql) is away_first
    assert channel_to_search(Filters(user="", channel="news")) == "news"
    assert channel_to_search(Filters(user="ann", channel="news")) is None


def test_a_count_of_a_channel_looks_at_the_subscriptions_of_its_period() -> None:
    bound = Bound()
    assert where(Filters(channel="news", since=AT), bound).count(">= $2::timestamptz - '24:00:00'::interval") == 3
    assert bound.values == [AT, AT, "news"]


def indexes_of(plan: Any) -> set[str]:
    """The names of the indexes in a plan, and "all" for a table that is read as a whole."""
    match plan:
        case list():
            return set().union(*map(indexes_of, plan))
        case dict():
            found = {"all"} if plan.get("Node Type") == "Seq Scan" else set()
            if name := plan.get("Index Name"):
                found.add(name)
            return found.union(*map(indexes_of, plan.values()))
    return set()


def node_types(plan: Any) -> set[str]:
    match plan:
        case list():
            return set().union(*map(node_types, plan))
        case dict():
            return {plan.get("Node Type", "")}.union(*map(node_types, plan.values()))
    return set()


@pytest.mark.integration
async def test_each_filter_walks_its_index(postgres: Postgres) -> None:
    database = await asyncpg.connect(postgres.url)
    await database.execute("""
        INSERT INTO sessions SELECT 's' || n, CASE WHEN n % 2 > 0 THEN 'u' || n % 5000 ELSE '' END, '',
            'client' || n % 3, 'v' || n % 20, 'edge-' || n % 10, 'i', 'c', 1,
            '2026-11-01'::timestamptz + n * interval '40 s', NULL,
            CASE WHEN n % 50 > 0 THEN '2026-11-01'::timestamptz + n * interval '40 s'
                + (CASE n % 9 WHEN 0 THEN interval '2 days' WHEN 1 THEN interval '5 hours' ELSE interval '9 min' END)
            END,
            CASE WHEN n % 50 > 0 AND n % 3 = 0 THEN '2026-11-01'::timestamptz + n * interval '40 s' END,
            CASE WHEN n % 50 > 0 THEN 1000 + n % 7 END, '', '', '' FROM generate_series(1, 60000) AS n""")
    await database.execute("ANALYZE sessions")
    names = {row[0]: row[1] for row in await database.fetch("""
        SELECT child.relname, parent.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
        JOIN pg_class parent ON parent.oid = inhparent WHERE child.relkind = 'i'""")}  # fmt: skip
    await database.execute("SET plan_cache_mode = force_custom_plan")
    for name, (filters, expected) in INDEXES.items():
        for after in (None, Place(AT, "s7")):
            query = select(filters, 101, after)
            plan = json.loads(await database.fetchval(f"EXPLAIN (FORMAT JSON) {query.sql}", *query.values))
            whole = {names.get(index, index) for index in indexes_of(plan)}
            used = {each.removeprefix("sessions_").removeprefix("by_") for each in whole if "connections" not in each}
            assert used and used <= expected, (name, used)
    query = select(Filters(client_version="v1"), 101, None, Found(client_names=["client0", "client1"]))
    plan = json.loads(await database.fetchval(f"EXPLAIN (FORMAT JSON) {query.sql}", *query.values))
    assert {names[each] for each in indexes_of(plan)} == {"sessions_by_version"}
    query = select(Filters(state="away", edge="edge-1"), 101, Place(AT, "s7"), Found(newest=20_000))
    plan = json.loads(await database.fetchval(f"EXPLAIN (FORMAT JSON) {query.sql}", *query.values))
    assert {names[each] for each in indexes_of(plan)} == {"sessions_by_time"}
    assert "Sort" not in node_types(plan), "it stops after a page"
    await database.close()
