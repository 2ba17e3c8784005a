"""The lines of `timeline` about facts that docs/sessions.md does not show."""

from __future__ import annotations

from msgspec import Raw

from proto.events import Refused, encode_fact
from services.sessions.commands.refusal_meanings import why_refused
from services.sessions.commands.screen import Screen
from services.sessions.commands.timeline import lines_of
from services.sessions.queries.timeline_postgres import SessionLife, Timeline, TimelineFact
from tests.sessions.day_of_a_deploy import NOW

SESSION = SessionLife("c1", "ann", "", "js", "5", "", NOW, None, None, None, "", "")


def said(*facts: Refused) -> list[str]:
    """The details of the lines about these facts."""
    told = [TimelineFact("c1", Raw(encode_fact(fact))) for fact in facts]
    return [line.details for line in lines_of(Timeline(SESSION, [], told, truncated=False), Screen(NOW))]


def test_a_sum_of_refusals_says_how_many_they_were_and_no_reason_that_they_do_not_share() -> None:
    at, why = int(NOW.timestamp() * 1000), why_refused(103, "publish")
    one = Refused(at, "publish", 103, "permission denied", connection="c1", channel="news")
    many = Refused(at + 1, "publish", 103, connection="c1", count=40_000)
    assert said(one, many) == [f"publish news: 103 permission denied, {why}", f"publish: 103, {why}, 40,000 times"]
