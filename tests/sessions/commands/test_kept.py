"""Answers about a time that is no longer kept say so; others do not."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from datetime import timedelta

import pytest

from services.sessions.commands.kept import caution
from services.sessions.commands.question import Question
from services.sessions.commands.screen import Screen
from services.sessions.queries.presence_postgres import Present
from services.sessions.rows import Session
from tests.sessions.commands.asked import at_moment, run
from tests.sessions.day_of_a_deploy import NOW, tell
from tests.sessions.rows_by_hand import insert
from tests.support.servers import Postgres

CAUTION = (
    "This may not be all: what ended, or was counted, before 29 Oct 14:30:00 is no longer kept (sessions.keep is 30 d)."
)
OLDER = [
    ["who", "--at", "2026-10-24 14:02"],
    ["who", "--at", "2026-10-24 14:02", "--by", "edge"],
    ["why", "alice", "--since", "31d"],
    ["drops", "--since", "31d"],
    ["channels", "--peak", "--until", "2026-10-29"],
    ["channels", "--channel", "news", "--until", "2026-10-29"],
    ["versions", "--since", "31d"],
    ["versions", "--before", "2026-11-12 14:00"],  # and as long before
    ["refusals", "--until", "2026-10-30"],
    ["edges", "--since", "31d"],
    ["users", "--since", "31d"],
]
KEPT = [
    ["who", "--at", "2026-10-30 14:02"],
    ["who", "--by", "edge"],
    ["why", "alice", "--since", "30d"],
    ["drops", "--since", "30d"],
    ["channels"],
    ["channels", "--peak", "--since", "30d"],
    ["versions", "--since", "30d"],  # no time before is compared with
    ["versions", "--before", "2026-11-14 14:00"],
    ["refusals"],
    ["edges", "--since", "30d"],
    ["users"],
    ["users", "alice"],
    ["timeline", "old"],
]


@pytest.mark.integration
@pytest.mark.once
def test_an_answer_about_a_time_that_is_no_longer_kept_says_so(postgres: Postgres, capsys: pytest.CaptureFixture[str]):
    asyncio.run(tell(postgres.url))
    old = int((NOW - timedelta(days=40)).timestamp() * 1000)
    session = Session("old", "u", "", "", "", "edge-1", "i", "old", 1, old, None, None, None, None, "", "", "")
    asyncio.run(insert(postgres.url, session))
    with at_moment(NOW):
        for question in OLDER:
            assert run(postgres.url, *question) == 0, question
            *_, nothing, last = capsys.readouterr().out.splitlines()
            assert (nothing, last) == ("", CAUTION), question
            assert run(postgres.url, *question, "--json") == 0, question
            printed = capsys.readouterr()
            assert json.loads(printed.out) and printed.err == f"fairlead-sessions: {CAUTION}\n", question
        for question in KEPT:
            assert run(postgres.url, *question) == 0, question
            printed = capsys.readouterr()
            assert "kept" not in printed.out and not printed.err, question


def test_where_sessions_are_kept_for_ever_nothing_is_missing():
    answer = Present(NOW - timedelta(days=4000), [], False)
    question = Question(Namespace(), NOW, keep_s=86_400 * 4001)
    for kept, is_whole in ((question, True), (question._replace(keep_s=86_400), False)):
        assert (not caution(answer, kept, Screen(NOW))) is is_whole
    assert not caution(answer, question._replace(keep_s=0), Screen(NOW))
