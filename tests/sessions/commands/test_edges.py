"""What becomes of an edge, in the words of `edges` and `why`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from proto.events import BY_NETWORK, EdgeFound, EdgeLost, EdgeStarted, EventBatch
from services.chassis.postgres.pool import Pool
from services.sessions.commands.edges import became
from services.sessions.commands.screen import Screen
from services.sessions.queries.edges_postgres import EdgeRun
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.sessions.commands.asked import at_moment, run
from tests.sessions.day_of_a_deploy import NOW, WINDOW_MS, closed, ms, opened
from tests.support.servers import Postgres


def at(minute: int) -> datetime:
    return datetime(2026, 11, 28, 14, minute, tzinfo=UTC)


def became_of(**moments: datetime) -> str:
    told: dict[str, Any] = dict.fromkeys(("draining_at", "stopped_at", "lost_at", "hung_at", "found_at"))
    counts: dict[str, Any] = {"opened": 0, "ended": 0, "times_hung": int("found_at" in moments), **told, **moments}
    one = EdgeRun(instance="i1", edge="e", software="1", first_at=at(0), last_at=at(9), started_at=at(0), **counts)
    with at_moment(NOW):
        return became(one, Screen(NOW))


HUNG: dict[str, Any] = {"hung_at": at(2), "found_at": at(3)}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("running", {}),
        ("running, hung from 14:02:00 to 14:03:00", HUNG),
        ("running, hung 1,200 times, last from 14:02:00 to 14:03:00", {**HUNG, "times_hung": 1_200}),
        ("running, hung until 14:03:00", {"found_at": at(3)}),
        ("running, hung 2 times, last until 14:03:00", {"found_at": at(3), "times_hung": 2}),
        ("hung from 14:02:00 to 14:03:00, draining since 14:05:00", {**HUNG, "draining_at": at(5)}),
        ("draining since 14:01:00, hung from 14:02:00 to 14:03:00", {**HUNG, "draining_at": at(1)}),
        ("hung from 14:02:00 to 14:03:00, lost at 14:06:00", {**HUNG, "lost_at": at(6)}),
        (
            "hung from 14:02:00 to 14:03:00, draining since 14:05:00, stopped at 14:07:00",
            {**HUNG, "draining_at": at(5), "stopped_at": at(7)},
        ),
    ],
)
def test_a_life_is_told_in_order(said: str, told: dict[str, Any]):
    assert became_of(**told) == said


@pytest.mark.integration
@pytest.mark.once
def test_why_says_that_the_edge_hung_when_a_connection_ended_and_not_of_another_time(
    postgres: Postgres, capsys: pytest.CaptureFixture[str]
):
    """Alice gives up an edge that hangs. As it goes on it notices; carol had gone before."""

    async def tell() -> None:
        parts: list[tuple[str, list[Any]]] = [
            ("i1", [EdgeStarted(at=ms("14:00:00"), software="0.1.0"), opened("14:00:01", "alice-1", "alice")]),
            ("i1", [opened("14:00:02", "carol-1", "carol"), closed("14:01:00", "carol-1", 1006, "", BY_NETWORK)]),
            ("watch-i1", [EdgeLost(at=ms("14:02:00"), instance="i1")]),
            ("i2", [opened("14:02:35", "alice-2", "alice")]),
            ("i1", [closed("14:03:01", "alice-1", 1006, "", BY_NETWORK)]),
            ("watch-i1", [EdgeFound(at=ms("14:03:02"), instance="i1")]),
        ]
        story = [EventBatch(f"edge of {name}", name, number, facts) for number, (name, facts) in enumerate(parts, 1)]
        async with Pool(postgres.url, 1) as pool:
            await PostgresStore(pool, WINDOW_MS).commit(ORIGIN, Position("e", len(story)), story)

    asyncio.run(tell())
    with at_moment(NOW):
        assert run(postgres.url, "why", "alice") == 0
        assert "edge of i1: running, hung from 14:02:00 to 14:03:02." in capsys.readouterr().out
        assert run(postgres.url, "why", "carol") == 0
        said = capsys.readouterr().out
    assert "14:01:00  1006" in said and "hung" not in said
