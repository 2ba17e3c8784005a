"""What a receiver's answer means."""

from __future__ import annotations

import pytest

from services.sessions.webhooks.verdict import OUTCOMES, Meaning, of_status, pause_s


@pytest.mark.parametrize(
    ("status", "meaning", "outcome"),
    [
        (200, Meaning.TAKEN, "taken"),
        (204, Meaning.TAKEN, "taken"),
        (301, Meaning.AGAIN, "redirect"),
        (400, Meaning.REFUSED, "refused"),
        (401, Meaning.AGAIN, "status"),
        (404, Meaning.AGAIN, "status"),
        (422, Meaning.REFUSED, "refused"),
        (429, Meaning.AGAIN, "status"),
        (503, Meaning.AGAIN, "status"),
    ],
)
def test_only_2xx_takes_and_only_what_is_about_the_events_refuses_them(status, meaning, outcome):
    verdict = of_status(status)
    assert (verdict.meaning, verdict.outcome) == (meaning, outcome) and outcome in OUTCOMES


def test_pauses_double_up_to_a_minute():
    assert [pause_s(attempt) for attempt in (1, 2, 3, 8, 1000)] == [0.5, 1.0, 2.0, 60.0, 60.0]
