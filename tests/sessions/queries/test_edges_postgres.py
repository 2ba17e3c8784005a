"""Which runs of edges belong to a period."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.chassis.postgres.pool import Pool
from services.sessions.queries.edges_postgres import Edges
from services.sessions.queries.periods import Period
from services.sessions.queries.places import EdgePlace
from services.sessions.rows import Edge
from tests.sessions.rows_by_hand import EPOCH, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

MINUTE, HOUR = 60_000, 3_600_000
NOON = 10_000 * HOUR


async def test_runs_are_those_that_were_there_in_the_period(postgres: Postgres):
    def run(name: str, began: int, last: int, **moments: int) -> Edge:
        return Edge(name, "edge-1", "1.0", NOON + began, NOON + last, **{at: NOON + one for at, one in moments.items()})

    await insert(
        postgres.url,
        run("quiet", -9 * HOUR, -8 * HOUR),
        run("died quietly", -9 * HOUR + 1, -2 * HOUR, lost_at=10 * MINUTE),
        run("died before", -9 * HOUR + 2, -2 * HOUR, lost_at=-MINUTE),
        run("stopped", -8 * HOUR, 5 * MINUTE, stopped_at=5 * MINUTE),
        run("stopped before", -8 * HOUR, -5 * MINUTE, stopped_at=-5 * MINUTE),
        run("began", 30 * MINUTE, 2 * HOUR),
        run("began later", HOUR, 2 * HOUR),
    )
    period = Period(EPOCH + timedelta(milliseconds=NOON), EPOCH + timedelta(milliseconds=NOON + HOUR))
    there = ["began", "stopped", "died quietly", "quiet"]
    async with Pool(postgres.url, 1) as pool:
        runs = await Edges(pool).during(period, 10)
        assert [one.instance for one in runs] == there
        after = [EdgePlace(one.began_at, one.instance) for one in runs]
        rest = [[one.instance for one in await Edges(pool).during(period, 10, place)] for place in after]
    assert rest == [there[1:], there[2:], there[3:], []]


async def test_a_run_tells_when_it_hung_the_last_time_and_how_many_times_it_did(postgres: Postgres):
    hung = Edge("i1", "edge-1", "1", NOON, NOON + 9, hung_at=NOON + 2, found_at=NOON + 8, times_hung=3)
    await insert(postgres.url, hung, Edge("i2", "edge-1", "1", NOON, NOON, found_at=NOON + 8, times_hung=1))
    async with Pool(postgres.url, 1) as pool:
        runs = await Edges(pool).of(["i1", "i2"])
    moments = {at: EPOCH + timedelta(milliseconds=NOON + at) for at in (1, 2, 8, 9)}
    assert (runs["i1"].times_hung, runs["i1"].hung_at, runs["i1"].found_at) == (3, moments[2], moments[8])
    assert [runs["i1"].hung_during(at) for at in moments.values()] == [False, True, True, False]
    assert not any(runs["i2"].hung_during(at) for at in moments.values()), "nobody knows since when it hung"
    assert runs["i1"].state == "running", "it is alive"


async def test_runs_that_began_together_are_each_on_one_page(postgres: Postgres):
    starts = [NOON, NOON, NOON, NOON + 1]
    await insert(
        postgres.url, *(Edge(f"i{n}", "edge-1", "1", at + n, NOON + n, started_at=at) for n, at in enumerate(starts))
    )
    period = Period(EPOCH + timedelta(milliseconds=NOON), EPOCH + timedelta(milliseconds=NOON + HOUR))
    pages, after = [], None
    async with Pool(postgres.url, 1) as pool:
        while page := await Edges(pool).during(period, 1, after):
            pages += [one.instance for one in page]
            after = EdgePlace(page[-1].began_at, page[-1].instance)
    assert pages == ["i3", "i2", "i1", "i0"]


Start = tuple[int, str, str] | tuple[int, str, str, int]
"""The minute of a start, the edge and its software, and the minute of its end if it is not the edge's next start."""

TWO_EDGES: list[Start] = [(-500, "edge-1", "0.1"), (-400, "edge-2", "0.1")]
SCALED_IN: list[Start] = [*TWO_EDGES, (-390, "edge-3", "0.1", -350), (-300, "edge-1", "0.2"), (-290, "edge-2", "0.2")]
CANARY_TILL_5: list[Start] = [(-500, "edge-1", "0.1"), (-400, "edge-2", "0.1", 5), (0, "edge-1", "0.2", 5)]
PODS: list[Start] = [(-500, "pod-a", "0.1", 5), (-400, "pod-b", "0.1", 40)]
UNDONE: list[Start] = [(-500, "pod-a", "0.1"), (0, "pod-c", "0.2", 5)]


@pytest.mark.parametrize(
    ("starts", "deploy"),
    [
        (TWO_EDGES, None),
        ([*TWO_EDGES, (0, "edge-1", "0.2"), (10, "edge-2", "0.2")], (0, "0.1", "0.2", "edge-1")),
        # An old edge crashes, and another is added, while edges are replaced one by one.
        ([*TWO_EDGES, (0, "edge-1", "0.2"), (1, "edge-2", "0.1")], (0, "0.1", "0.2", "edge-1")),
        (
            [*TWO_EDGES, (0, "edge-1", "0.2"), (1, "edge-2", "0.1"), (10, "edge-2", "0.2")],
            (0, "0.1", "0.2", "edge-1"),
        ),
        ([*TWO_EDGES, (0, "edge-1", "0.2"), (1, "edge-3", "0.1"), (9, "edge-3", "0.2")], (0, "0.1", "0.2", "edge-1")),
        # A rollback is a deploy, too, and so is the next attempt.
        ([*TWO_EDGES, (0, "edge-1", "0.2"), (5, "edge-1", "0.1")], (5, "0.2", "0.1", "edge-1")),
        (
            [*TWO_EDGES, (0, "edge-1", "0.2"), (5, "edge-1", "0.1"), (7, "edge-2", "0.2"), (9, "edge-1", "0.2")],
            (7, "0.1", "0.2", "edge-2"),
        ),
        # An edge that missed a deploy starts with what the others run, or is the first with what comes next.
        ([*SCALED_IN, (0, "edge-1", "0.3"), (5, "edge-3", "0.2")], (0, "0.2", "0.3", "edge-1")),
        (
            [*SCALED_IN, (0, "edge-1", "0.3"), (5, "edge-3", "0.2"), (10, "edge-2", "0.3")],
            (0, "0.2", "0.3", "edge-1"),
        ),
        ([*SCALED_IN, (0, "edge-3", "0.3"), (10, "edge-1", "0.3")], (0, "0.2", "0.3", "edge-3")),
        # All edges stop, and start with the old software: first the one that had it.
        ([*CANARY_TILL_5, (6, "edge-2", "0.1"), (7, "edge-1", "0.1")], (7, "0.2", "0.1", "edge-1")),
        # Where each edge has a name of its own, an old one goes when a new one has come.
        (PODS, None),
        ([*PODS, (0, "pod-c", "0.2"), (1, "pod-d", "0.1"), (10, "pod-e", "0.2")], (0, "0.1", "0.2", "pod-c")),
        ([*PODS, (0, "pod-c", "0.2"), (3, "pod-d", "0.2"), (50, "pod-e", "0.1")], (50, "0.2", "0.1", "pod-e")),
        ([*PODS, (0, "pod-c", "0.2"), (39, "pod-d", "0.1")], (0, "0.1", "0.2", "pod-c")),
        # The next attempt after a rollback for which no pod had to start.
        ([*UNDONE, (60, "pod-d", "0.2"), (70, "pod-e", "0.2")], (60, "0.1", "0.2", "pod-d")),
        ([*UNDONE, (30, "pod-b", "0.1"), (60, "pod-d", "0.2")], (60, "0.1", "0.2", "pod-d")),
        # All pods go, and others with the same software come.
        ([(-500, "pod-a", "0.1", 5), (10, "pod-b", "0.1")], None),
    ],
)
async def test_the_last_deploy_begins_with_the_first_edge_that_runs_other_software(
    postgres: Postgres, starts: list[Start], deploy: tuple[int, str, str, str] | None
):
    runs = []
    for n, (at, edge, software, *until) in enumerate(starts):
        end = next(iter([*until, *(later for later, other, *_ in starts[n + 1 :] if other == edge)]), None)
        began = NOON + at * MINUTE
        run = Edge(f"i{n}", edge, software, began, began, started_at=began)
        if end is not None:
            setattr(run, "stopped_at" if n % 2 else "lost_at", NOON + end * MINUTE)
        runs.append(run)
    await insert(postgres.url, *runs)
    async with Pool(postgres.url, 1) as pool:
        found = await Edges(pool).last_deploy(EPOCH + timedelta(milliseconds=NOON + HOUR + HOUR))
    if deploy is None:
        assert found is None
        return
    at, before, software, edge = deploy
    assert found is not None
    assert (found.before, found.software, found.edge) == (before, software, edge)
    assert found.at == EPOCH + timedelta(milliseconds=NOON + at * MINUTE)
