from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.sessions.queries.reaches import EVER, REACHES, before

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize("at", [NOON, EVER, EVER + timedelta(days=1), datetime(1, 1, 2, tzinfo=UTC)])
def test_each_reaches_further_back_and_none_before_everything(at: datetime) -> None:
    found = [before(at, reach) for reach in REACHES]
    assert found == sorted(found, reverse=True) and found[-1] == EVER
    assert min(found) >= EVER


def test_a_reach_is_a_stretch_before_the_moment() -> None:
    assert before(NOON, timedelta(days=1)) == NOON - timedelta(days=1)
