from __future__ import annotations

import pytest

from services.metrics.answers import capacity_answer, forecast_answer
from services.metrics.edge_count import CountSettings
from services.metrics.forecasting.prediction import Answer
from services.metrics.history import Hour
from services.metrics.minutes import Minute, whole
from services.metrics.planner import NO_FORECAST, NO_MINUTE, STALE_S, EdgeLimits, Planner
from tests.metrics.capacity.edges import minute
from tests.metrics.forecasting.predictions import answer

T0 = 1_789_999_200


def planner(**limits: float) -> Planner:
    return Planner(EdgeLimits(**limits), CountSettings(spare=0, most=50), certainty=0.9)


def minutes(count: int, connections: float, at: int = T0) -> list[Minute]:
    edges = [
        minute(connections, 5 * connections, 0.1 * connections, at=at, edge=f"edge-{number}") for number in range(count)
    ]
    return [*edges, whole(edges)]


def busy() -> Planner:
    made = planner(memory=512e6)
    for number in range(60):
        made.minute_ended(minutes(2, 100 + 50 * number, T0 + 60 * number))
    return made


def test_before_the_first_minute_it_says_so():
    made = planner()
    assert capacity_answer(made).problem == NO_MINUTE
    assert forecast_answer(made, T0).problem == NO_FORECAST
    assert made.recommended is None
    made.minute_ended([])
    assert made.capacity is None


def test_it_answers_what_the_last_minute_shows():
    said = capacity_answer(busy())
    assert (said.problem, said.at, said.binding) == (None, T0 + 59 * 60, "cpu")
    assert said.headroom is not None
    assert said.headroom == pytest.approx(sum(one.headroom or 0 for one in said.edges))
    assert said.laws["cpu"].quality > 0.95
    assert said.laws["cpu"].limit == pytest.approx(0.7)
    assert said.laws["memory"].limit == pytest.approx(0.7 * 512e6)
    assert said.laws["bandwidth"].limit is None
    assert said.laws["descriptors"].limit == pytest.approx(0.7 * 20_000)
    assert said.recommended_edges == 1  # an hour at less than one edge's load


def test_memory_is_limited_by_what_edges_say_unless_it_is_set():
    edges = [minute(100, 200, 20, at=T0)._replace(memory_limit=size) for size in (0.0, 400e6, 300e6)]
    for memory, limit in ((0.0, 0.7 * 300e6), (512e6, 0.7 * 512e6)):
        made = planner(memory=memory)
        made.minute_ended([*edges, whole(edges)])
        assert capacity_answer(made).laws["memory"].limit == pytest.approx(limit)


def test_an_overloaded_edge_counts_for_more_than_the_load_that_it_manages():
    made = busy()
    edges = [minute(2000, 4000, 200, at=T0 + 4000, edge=f"edge-{number}")._replace(cpu=0.98) for number in range(2)]
    made.minute_ended([*edges, whole(edges)])
    assert made.recommended is not None
    assert made.recommended >= 3


def test_what_is_foreseen_soon_is_recommended_now():
    made = busy()
    at = T0 + 3600
    made.forecasted(answer(at, [1.0, 10.0, 3.0, *[1.0] * 21]), None)
    assert made.problem is None
    made.minute_ended(minutes(2, 1000, at))
    assert made.recommended == 2
    made.minute_ended(minutes(2, 1000, at + 3000))
    assert made.recommended == 14  # 10 with a certainty of 90 %
    said = forecast_answer(made, at + 3060)
    assert said.edges_by_hour[:3] == [2, 14, 5]
    assert said.chance_out["6h"] == 1
    assert said.error == pytest.approx(24 / 36_000, rel=0.2)


def test_why_there_is_no_forecast_is_told_and_the_last_one_stays():
    made = busy()
    made.forecasted(Answer(predictions={}, problems={"edges": "needs 72 hours"}), None)
    assert forecast_answer(made, T0 + 3600).problem == "needs 72 hours"
    made.forecasted(answer(T0 + 3600, [1.0] * 24), None)
    made.forecasted(None, "PostgreSQL: away")
    said = forecast_answer(made, T0 + 3600)
    assert (said.problem, len(said.hours)) == ("PostgreSQL: away", 24)
    assert forecast_answer(made, T0 + 3600 + 86400).hours == []


def test_it_begins_with_what_the_history_has_taught():
    made, taught = busy(), planner(memory=512e6)
    taught.learn([Hour(one[0].minute, 60, one[0], one[0]) for one in (minutes(1, 100 + 50 * n) for n in range(60))])
    beyond = minute(5000, 25_000, 500)
    assert taught.laws["cpu"].usage(beyond) == pytest.approx(made.laws["cpu"].usage(beyond), rel=0.05)
    assert taught.levels == made.levels


def test_one_edge_that_was_frozen_asks_for_no_others():
    made = busy()
    before = made.recommended
    edges = minutes(2, 100, T0 + 4000)[:2]
    frozen = [edges[0]._replace(loop_lag_s=0.5, loop_lag_max_s=20.0), edges[1]]
    made.minute_ended([*frozen, whole(frozen)])
    assert made.recommended == before


def test_the_capacity_of_edges_that_are_gone_is_not_known_any_more():
    made = busy()
    at = made.minute.minute if made.minute is not None else 0
    made.sweep(at + 60 + STALE_S)
    assert made.capacity is not None
    recommended = made.recommended
    made.sweep(at + 61 + STALE_S)
    assert capacity_answer(made).problem == NO_MINUTE
    assert made.recommended == recommended
