"""Questions at the command line: for scripts, about what is not there, and when PostgreSQL cannot answer."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from argparse import Namespace
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from proto.events import BY_NETWORK
from services.sessions.commands import refusals, who, why
from services.sessions.commands.question import Question
from services.sessions.commands.screen import Screen
from services.sessions.queries.periods import Period
from services.sessions.queries.present_counts_postgres import PresentCount, PresentCounts
from services.sessions.queries.refusals_postgres import RefusalCount, Refusals
from services.sessions.queries.user_story_postgres import ConnectionEnd, UserStory
from services.sessions.rows import Connection, Refusal, Session
from tests.sessions.commands.asked import at_moment, run
from tests.sessions.day_of_a_deploy import NOW, tell
from tests.sessions.rows_by_hand import insert
from tests.support.servers import Postgres

pytestmark = [pytest.mark.integration, pytest.mark.once]

QUESTIONS = [
    ["who"],
    ["who", "--at", "14:02", "--user", "alice"],
    ["who", "--by", "edge"],
    ["why", "alice"],
    ["timeline", "alice-2"],
    ["drops", "--by", "version", "--all"],
    ["channels"],
    ["channels", "--peak"],
    ["channels", "--channel", "news"],
    ["versions"],
    ["versions", "--since-deploy"],
    ["refusals", "--by", "code"],
    ["edges"],
    ["users"],
    ["users", "bob"],
]


def test_each_answer_is_one_object_for_scripts_and_nothing_else(postgres: Postgres, capsys: pytest.CaptureFixture[str]):
    asyncio.run(tell(postgres.url))
    answers = {}
    with at_moment(NOW):
        for question in QUESTIONS:
            assert run(postgres.url, *question, "--json") == 0, question
            (line,) = capsys.readouterr().out.splitlines()
            answers[" ".join(question)] = json.loads(line)
    (alice,) = answers["who --at 14:02 --user alice"]["sessions"]
    assert (alice["edge"], alice["connection"], alice["channels"]) == ("edge-1", "alice-1", ["chat:lobby", "news"])
    assert answers["who --at 14:02 --user alice"]["at"] == "2026-11-28T14:02:00.999000Z"
    lost, drained = answers["why alice"]["ends"]
    assert (lost["by"], drained["by"], drained["delivered"]["offsets"]) == ("loss", "drain", {"chat:lobby": 41})
    assert drained["back"]["resumed"] and drained["edge_run"]["instance"] == "e1-5f0a"
    (lobby, *_) = drained["back"]["channels"]
    assert (lobby["recovered"], lobby["after"], lobby["count"]) == (True, 41, 3)
    assert answers["timeline alice-2"]["session"]["id"] == "alice-1"
    assert [one["fact"]["type"] for one in answers["timeline alice-2"]["facts"]][:2] == ["opened", "subscribed"]
    drops = answers["drops --by version --all"]
    assert drops["total"] == sum(one["count"] for one in drops["groups"]) == sum(one["count"] for one in drops["curve"])
    assert (drops["total"], drops["goodbyes"], len(drops["curve"])) == (9, 1, 60)
    assert answers["versions --since-deploy"]["deploy"]["software"] == "0.2.0"
    assert {one["code"] for one in answers["refusals --by code"]["groups"]} == {3500, 103, 111}
    hung, *others = answers["edges"]["edges"]
    assert (hung["instance"], hung["times_hung"]) == ("e2-03aa", 1)
    assert (hung["hung_at"], hung["found_at"]) == ("2026-11-28T14:23:05Z", "2026-11-28T14:23:13Z")
    assert {(one["times_hung"], one["hung_at"], one["found_at"]) for one in others} == {(0, None, None)}


def test_a_session_is_found_by_the_beginning_of_its_id_or_of_a_connections(
    postgres: Postgres, capsys: pytest.CaptureFixture[str]
):
    asyncio.run(tell(postgres.url))
    with at_moment(NOW):
        for beginning, session in (("er", "erin-1"), ("carol-4", "carol-1"), ("alice-", "alice-1")):
            assert run(postgres.url, "timeline", beginning) == 0
            assert capsys.readouterr().out.startswith(f"Session {session} of "), beginning
        assert run(postgres.url, "timeline", "dave-12") == 1
        assert "no session or connection 'dave-12' is known" in capsys.readouterr().out
    asyncio.run(_insert_alike(postgres.url))
    with at_moment(NOW):
        assert run(postgres.url, "timeline", "same") == 1
        said = capsys.readouterr().out
        assert (
            "several ids begin with 'same', those of the sessions same0, same1, same2, same3, same4 and others" in said
        )


async def _insert_alike(url: str) -> None:
    ids = [f"same{number}" for number in range(7)]
    sessions = [Session(id_, "x", "", "", "", "e", "i", id_, 1, 5, None) for id_ in ids]
    await insert(url, *sessions, *(Connection(id_, id_, "e", "i", 5) for id_ in ids))


UNKNOWN = [
    (["why", "nobody\x1b[2J"], "no user 'nobody\\\\x1b[2J' is known: `users` lists"),
    (["timeline", "x"], "no session or connection 'x' is known: `who`"),
    (["users", "nobody"], "no user 'nobody' is known"),
    (["channels", "--channel", "none"], "nobody ever subscribed to 'none'"),
    (["versions", "--since-deploy"], "no deploy is known"),
]


def test_what_is_not_known_is_said_with_where_to_look(postgres: Postgres, capsys: pytest.CaptureFixture[str]):
    with at_moment(NOW):
        for question, said in UNKNOWN:
            assert run(postgres.url, *question) == 1
            assert said in capsys.readouterr().out, question


NOTHING = [
    (["who"], "No session is connected now, at 14:30:00"),
    (["who", "--at", "14:02", "--channel", "a"], "No session was connected in a at 14:02:00"),
    (["who", "--user", ""], "No session of anonymous clients is connected now"),
    (["who", "--by", "version", "--edge", "edge-9"], "No session is connected on edge-9 now"),
    (["drops"], "No drops from 13:30 to now"),
    (["drops", "--code", "3008", "--all"], "No ends with code 3008 from 13:30"),
    (["channels"], "Nobody ever subscribed."),
    (["channels", "--peak"], "No subscribers from 27 Nov 14:00"),
    (["versions"], "No client is connected, and none was from"),
    (["refusals"], "Nobody was refused from"),
    (["edges"], "No edge has written facts from"),
    (["users"], "Nobody was seen from"),
]


def test_nothing_is_an_answer_in_a_sentence(postgres: Postgres, capsys: pytest.CaptureFixture[str]):
    with at_moment(NOW):
        for question, said in NOTHING:
            assert run(postgres.url, *question) == 0
            assert capsys.readouterr().out.startswith(said), question


COVERED = [
    (["drops", "--until", "14:03"], "2 drops from 13:03 to 14:03 ("),
    (["drops", "--until", "yesterday 14:03"], "No drops from 27 Nov 13:03 to 27 Nov 14:03 ("),
    (
        ["edges", "--since", "12:00", "--limit", "1"],
        "At least 1 run of edges from 12:00 to now (28 Nov 2026, UTC); the newest: 1 running.",
    ),
    (
        ["edges", "--since", "12:00", "--limit", "3"],
        "At least 3 runs of edges from 12:00 to now (28 Nov 2026, UTC); the 3 newest: 2 running, 1 lost.",
    ),
    (["users", "--limit", "1"], "At least 1 user seen from 27 Nov 14:30 to now ("),
    (["drops", "--since", "14:02:30", "--until", "14:02:40"], "2 drops from 14:02 to 14:03 ("),
    (["drops", "--since", "14:02:59.9", "--until", "14:02:59.95"], "2 drops from 14:02 to 14:03 ("),
    (["refusals", "--since", "13:56:40", "--until", "13:56:41"], "1 refusal from 13:56 to 13:57 ("),
    (["versions", "--since", "14:20:30", "--until", "14:20:40"], "2 versions of clients from 14:20 to 14:21 ("),
    (
        ["channels", "--peak", "--since", "13:57", "--until", "13:59"],
        "The channels with the highest peaks from 13:00 to",
    ),
    (["why", "carol", "--since", "14:02:12", "--until", "14:05:00.5"], "carol: no connection ended and nothing was"),
    (
        ["why", "carol", "--since", "14:02:11", "--until", "14:05"],
        "carol: 1 connection ended, 0 refusals from 14:02:11",
    ),
    (["who", "--at", "14:02:12", "--user", "alice"], "1 session of alice was connected at 14:02:12 ("),
    (["who", "--at", "14:02:12.0", "--user", "alice"], "No session of alice was connected at 14:02:12.0 ("),
    (["who", "--at", "14:02:12", "--channel", "chat:lobby"], "2 sessions were connected in chat:lobby at 14:02:12 ("),
]
"""What is asked for, and what the first line says that the answer is about."""


def test_an_answer_names_what_it_covers(postgres: Postgres, capsys: pytest.CaptureFixture[str]):
    asyncio.run(tell(postgres.url))
    with at_moment(NOW):
        for question, said in COVERED:
            assert run(postgres.url, *question) == 0, question
            assert capsys.readouterr().out.startswith(said), question
        for before, since, said, counts in (
            ("14:02:30", "14:03", " The minute of 14:02 counts as before.", ["0", "2"]),
            ("14:02", "14:02", "", ["2", "0"]),
        ):
            assert run(postgres.url, "versions", "--before", before) == 0
            printed = capsys.readouterr().out.splitlines()
            assert printed[0] == f"What changed from {since} to now (28 Nov 2026, UTC), against as long before.{said}"
            (drained,) = [line.split() for line in printed if line.startswith("dropped") and "1001" in line]
            assert drained[-2:] == counts, "the edge was stopped at 14:02:11"
            assert run(postgres.url, "versions", "--before", before, "--json") == 0
            versions = json.loads(capsys.readouterr().out)["versions"]
            assert versions["period"]["since"] == versions["before"]["until"] == f"2026-11-28T{since}:00Z"


SENSELESS = [
    (["who", "--at", "soon"], 'expected a time such as "14:02"'),
    (["who", "--at", "2030-01-01"], "expected a time in the past"),
    (["who", "--limit", "0"], "expected a number from 1 to 100000, not '0'"),
    (["who", "--by", "edge", "--user", "ann"], "expected --by or --user, not both"),
    (["drops", "--since", "14:20", "--until", "14:10"], "expected --since to be before --until"),
    (["drops", "--since", "now"], "expected --since to be before now"),
    (["who", "--by", "edge", "--limit", "2"], "expected no --limit with --by"),
    (["channels", "--since", "14:00"], "expected no --since without --peak or --channel"),
    (["channels", "--until", "14:00"], "expected no --until without --peak or --channel"),
    (["channels", "--peak", "--channel", "news"], "expected --peak or --channel, not both"),
    (["channels", "--channel", "news", "--limit", "3"], "expected no --limit with --channel"),
    (["users", "ann", "--since", "1h"], "expected no --since with a USER"),
    (["users", "ann", "--limit", "1"], "expected no --limit with a USER"),
    (["versions", "--before", "14:00", "--since", "1h"], "expected no --since with --before"),
    (["versions", "--before", "14:29:30"], "expected --before in an earlier minute than this one"),
    (["channels", "--peak", "--since", "40d"], "expected a period of at most 31 days"),
    (["versions", "--since-deploy", "--before", "14:00"], "not both"),
    (["versions", "--before", "14:20:30", "--until", "14:20:50"], "in a later minute than the moment to compare with"),
    (["drops", "--by", "moon"], "invalid choice"),
    (["drops", "--code", "99999999999"], "expected a number from 0 to 2147483647, not '99999999999'"),
    (["drops", "--code", "-1"], "expected a number from 0"),
    (["why", ""], 'expected a user id; `who --user ""` lists anonymous clients'),
    (["users", ""], 'expected a user id; `who --user ""` lists anonymous clients'),
    (["who", "--channel", ""], "expected a name, not an empty one"),
    (["who", "--user", "\udcff"], "expected UTF-8"),
    (["export-user", ""], "expected a user id"),
    (["erase-user", "", "--yes"], "expected a user id"),
    (["who", "--edge", "\udcff"], "expected UTF-8, not '\\udcff'"),
]


def test_arguments_that_make_no_sense_are_refused(postgres: Postgres, capsys: pytest.CaptureFixture[str]):
    with at_moment(NOW):
        for question, said in SENSELESS:
            assert run(postgres.url, *question) == 2
            assert said in capsys.readouterr().err, question


async def test_what_a_client_chose_does_not_reach_the_terminal_as_it_is(postgres: Postgres, capsys):
    at, wild = int(NOW.timestamp() * 1000) - 60_000, "\x1b]0;owned\x07\u202e[bold]"
    session = Session("c1", wild, "", wild, wild, "e", "i", "c1", 1, at, None, at + 5, None, 3500, wild, "edge", wild)
    connection = Connection("c1", "c1", "e", "i", at, at + 5, 3500, wild, "edge", wild)
    refusal = Refusal(at, "e", "i", "publish", 103, wild, "c1", wild, wild, wild, wild, wild, wild, wild, wild, 1)
    await insert(postgres.url, session, connection, refusal)
    with at_moment(NOW):
        for question in (["why", wild], ["who", "--at", "14:29:00.0"], ["timeline", "c1"]):
            assert await asyncio.to_thread(run, postgres.url, *question) == 0
            printed = capsys.readouterr().out
            assert "\\x1b]0;owned\\x07\\u202e[bold]" in printed and "\x1b" not in printed and "\u202e" not in printed


def test_postgres_that_is_away_is_an_error_with_what_to_do():
    environ = {**os.environ, "FAIRLEAD_POSTGRES_URL": "postgresql://u:p@127.0.0.1:1/x"}
    command = [sys.executable, "-m", "services.sessions", "who"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("fairlead-sessions: PostgreSQL: ") and "Traceback" not in done.stderr
    assert "check that PostgreSQL runs at the address in postgres.url" in done.stderr


async def test_a_process_answers_on_a_database_of_its_own_making(postgres: Postgres):
    environ = {**os.environ, "FAIRLEAD_POSTGRES_URL": postgres.url, "TZ": "UTC", "LC_ALL": "C"}
    command = [sys.executable, "-m", "services.sessions", "who"]
    done = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("No session is connected now, at ")


def test_counts_of_a_part_say_that_they_are_of_a_part(capsys: pytest.CaptureFixture[str]):
    answer = PresentCounts(NOW, "edge", 250_000, [PresentCount(250_000, edge="edge-1")], more=True)
    asked = Namespace(by="edge", user=None, edge=None, channel=None)
    with at_moment(NOW):
        who.show(answer, Question(asked, NOW), Screen(NOW))
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("At least 250,000 sessions are connected now")
    assert last == "Only 250,000 are counted: --edge and --channel narrow it down."


def test_refusals_by_user_name_the_last_channel_with_how_many_others_and_who_is_anonymous(
    capsys: pytest.CaptureFixture[str],
):
    def group(user: str, anonymous: bool, channel: str, channels: int) -> RefusalCount:
        told: dict[str, Any] = {
            "action": "subscribe",
            "code": 103,
            "reason": "permission denied",
            "address": "",
            "last_at": NOW,
        }
        return RefusalCount(1, user=user, anonymous=anonymous, channel=channel, channels=channels, **told)

    groups = [group("bob", False, "$chat:priv", 2), group("", True, "news", 1), group("", False, "", 0)]
    answer = Refusals(Period(NOW - timedelta(hours=1), NOW), "user", 3, groups, 60, [], False)
    with at_moment(NOW):
        refusals.show(answer, Question(Namespace(by="user"), NOW), Screen(NOW))
    bob, anonymous, unknown = [line for line in capsys.readouterr().out.splitlines() if "103" in line]
    assert bob.startswith("bob ") and "$chat:priv and 1 more" in bob
    assert anonymous.startswith("(anonymous) ") and "news " in anonymous and "more" not in anonymous
    assert unknown.startswith("(unknown) ")


def test_what_may_be_of_a_user_too_is_said_also_if_nothing_is_known_to_be(capsys: pytest.CaptureFixture[str]):
    period = Period(NOW - timedelta(hours=1), NOW)
    with at_moment(NOW):
        for unnamed in (0, 7):
            story = UserStory("ann", period, known=True, connected=0, ends=[], refusals=[], unnamed=unnamed, more=False)
            why.show(story, Question(Namespace(), NOW), Screen(NOW))
    nothing, again, _, seven = capsys.readouterr().out.splitlines()
    assert nothing == again and "nothing was refused" in nothing
    assert seven.startswith("7 refusals without a name in this period may concern ann, too: ")


def test_what_is_said_of_a_client_that_is_not_back_is_true_of_its_session(capsys: pytest.CaptureFixture[str]):
    """A session has two connections at once if its edge hung while another tab was opened."""
    end = ConnectionEnd(
        NOW,
        "s",
        "c",
        NOW,
        "js",
        "1",
        "",
        "edge-1",
        1006,
        "",
        BY_NETWORK,
        None,
        delivered=None,
        back=None,
        edge_run=None,
    )
    period = Period(NOW - timedelta(hours=1), NOW)
    with at_moment(NOW):
        for one in (
            end,
            replace(end, code=1000),
            replace(end, away_until=NOW),
            replace(end, away_until=NOW + timedelta(minutes=1)),
        ):
            story = UserStory("ann", period, known=True, connected=1, ends=[one], refusals=[], unnamed=0, more=False)
            why.show(story, Question(Namespace(), NOW), Screen(NOW))
    said = [line.strip() for line in capsys.readouterr().out.splitlines() if "Not back" in line]
    assert said == [
        "Not back: the session went on over another connection.",
        "Not back: after this code SDKs do not reconnect by themselves.",
        "Not back. The session could be resumed until 14:30:00.",
        "Not back yet: the session may be resumed until 14:31:00.",
    ]
