"""What holds for every question: its moment has come, its position is of this log, its answer has a tag."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from msgspec import Struct

from proto.events import Opened
from services.chassis.postgres.pool import Pool
from services.sessions.api.calls import CLOCKS_DIFFER, Calls, fill_period
from services.sessions.api.parameters import AT, LIMIT, BadParameter, Values
from services.sessions.api.positions import PositionReader
from services.sessions.api.questions import Question
from services.sessions.api.reader_postgres import ReadPool
from services.sessions.queries.periods import FIRST_DAY
from tests.sessions.api.serving import Log, asking
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


@pytest.fixture
async def api(postgres: Postgres) -> AsyncIterator[httpx.AsyncClient]:
    """The API over a session that is open since a minute."""
    at = int((datetime.now(UTC) - timedelta(minutes=1)).timestamp() * 1000)
    async with Pool(postgres.url, 4) as pool, asking(postgres.url) as http:
        await Log(pool).write(Opened(at=at, connection="a", user="ann"))
        yield http


@pytest.mark.parametrize("path", ["/sessions", "/sessions/counts", "/sessions/export", "/users/ann/sessions"])
async def test_a_moment_that_has_not_come_is_refused(api: httpx.AsyncClient, path: str) -> None:
    soon = (datetime.now(UTC) + CLOCKS_DIFFER / 2).isoformat()
    assert (await api.get(path, params={"at": soon})).status_code == 200, "the clocks of machines differ"
    for later in ((datetime.now(UTC) + 2 * CLOCKS_DIFFER).isoformat(), "2999-01-01T00:00:00Z"):
        answer = await api.get(path, params={"at": later})
        assert answer.status_code == 400 and answer.json()["error"]["parameter"] == "at"
        assert answer.json()["error"]["message"].startswith("at: expected a time in the past: it is 20")


@pytest.mark.parametrize("path", ["/sessions", "/edges", "/sessions/export"])
async def test_a_position_of_another_log_is_refused_at_once(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path, params={"after_position": "another:1"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["parameter"]) == (409, 409, "after_position")
    assert "another:1 belongs to another session log than the rows, which are at e:1" in error["message"]
    assert answer.headers["fairlead-position"] == "e:1"
    assert (await api.get(path, params={"after_position": answer.headers["fairlead-position"]})).status_code == 200


async def test_the_position_from_before_the_first_fact_is_behind_all(api: httpx.AsyncClient) -> None:
    assert (await api.get("/sessions", params={"after_position": ":0"})).status_code == 200


class _Found(Struct):
    limit: int


async def _echo(values: Values) -> _Found:
    return _Found(values.get("limit", 0))


async def _fail(values: Values) -> _Found:
    raise IndexError("a bug")


QUESTION = Question("echo", "/echo", "", (LIMIT, AT), _Found, _echo)


async def test_a_tag_is_of_one_version_of_the_software(api: httpx.AsyncClient, postgres: Postgres) -> None:
    """Another version may answer in another shape, though no fact was folded."""
    async with ReadPool(postgres.url, 1) as pool:
        old, new = (Calls(PositionReader(pool), version=version) for version in ("1.0", "1.1"))
        first = await old.answer(QUESTION, [("limit", "7")])
        assert (first.status, first.body) == (200, b'{"limit":7}')
        assert (await old.answer(QUESTION, [("limit", "7")], first.tag)).status == 304
        assert (await old.answer(QUESTION, [("limit", "7")], "*")).status == 304, "RFC 9110: whatever it is"
        assert (await old.answer(QUESTION, [("limit", "8")], first.tag)).status == 200
        assert (await new.answer(QUESTION, [("limit", "7")], first.tag)).status == 200


async def test_an_answer_says_from_when_on_everything_is_kept(api: httpx.AsyncClient, postgres: Postgres) -> None:
    now = datetime(2026, 11, 30, 9, 12, 30, 1, tzinfo=UTC)
    async with ReadPool(postgres.url, 1) as pool:
        calls = Calls(PositionReader(pool), now=lambda: now, keep_s=86_400)
        answer = await calls.answer(QUESTION, [])
        assert (answer.status, answer.kept_since) == (200, "2026-11-29T09:12:31Z"), "not a moment too early"
        same = await calls.answer(QUESTION, [], answer.tag)
        assert (same.status, same.kept_since) == (304, answer.kept_since)
        assert (await calls.answer(QUESTION, [("limit", "x")])).kept_since == ""
        assert (await Calls(PositionReader(pool)).answer(QUESTION, [])).kept_since == "", "all is kept"


@pytest.mark.parametrize("path", ["/who", "/sessions", "/drops", "/sessions/export"])
async def test_over_http_a_header_says_from_when_on_everything_is_kept(postgres: Postgres, path: str) -> None:
    async with Pool(postgres.url, 1) as pool:
        await Log(pool).write(Opened(at=1, connection="a", user="ann"))
    async with asking(postgres.url, keep_s=3600) as http, asking(postgres.url) as all_kept:
        answer = await http.get(path)
        since = datetime.fromisoformat(answer.headers["fairlead-kept-since"])
        assert abs(datetime.now(UTC) - timedelta(hours=1) - since) < timedelta(minutes=1)
        assert "fairlead-kept-since" not in (await all_kept.get(path)).headers


async def test_a_bug_is_an_answer_as_every_other_and_in_the_log(
    api: httpx.AsyncClient, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with ReadPool(postgres.url, 1) as pool:
        answer = await Calls(PositionReader(pool)).answer(QUESTION._replace(answer=_fail), [])
    assert answer.status == 500 and b"the sessions service failed to answer" in answer.body
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert record.exc_info is not None and "echo" in record.getMessage()


PERIODS = (
    ("0001-01-02T00:00:00Z", "0001-01-30T00:00:00Z"),
    ("0001-01-01T00:00:00Z", "0001-01-02T00:00:00.5Z"),
    ("1969-12-31T23:58:59.5Z", "1969-12-31T23:58:59.8Z"),
)


NOW = datetime(2026, 11, 30, 9, 12, 30, tzinfo=UTC)
AHEAD = CLOCKS_DIFFER / 2


@pytest.mark.parametrize(
    ("given", "period"),
    [
        ({}, "29T09:13:00 30T09:13:00"),
        ({"to": NOW - timedelta(days=3)}, "26T09:12:30 27T09:12:30"),
        ({"to": NOW + timedelta(hours=23)}, "30T08:12:30 01T08:12:30"),
        ({"from": NOW - timedelta(hours=1)}, "30T08:12:30 30T09:13:00"),
        ({"from": NOW.replace(second=55) + AHEAD}, "30T09:13:00 30T09:14:00"),
        ({"at": NOW - timedelta(hours=1)}, "29T08:13:00 30T08:13:00"),
        ({"at": NOW, "from": NOW}, "30T09:12:30 30T09:13:00"),
        ({"at": NOW.replace(second=0)}, "29T09:13:00 30T09:13:00"),
        ({"at": NOW.replace(second=0), "from": NOW.replace(second=0)}, "30T09:12:00 30T09:13:00"),
    ],
)
def test_a_period_is_completed(given: Values, period: str) -> None:
    values = dict(given)
    fill_period(values, timedelta(days=1), NOW)
    assert f"{values['from']:%dT%H:%M:%S} {values['to']:%dT%H:%M:%S}" == period


@pytest.mark.parametrize(
    ("given", "parameter", "says"),
    [
        ({"from": NOW, "to": NOW}, "to", "expected a time after `from`"),
        ({"from": NOW, "at": NOW - AHEAD}, "from", "expected a time before `at`"),
        ({"to": NOW + timedelta(days=2)}, "to", "the 24 hours before it have not begun, it is 2026-11-30T09:12:30Z"),
        ({"to": FIRST_DAY}, "to", "expected a later time"),
        ({"from": FIRST_DAY}, "from", "expected a period of at most 366 days"),
    ],
)
def test_what_is_wrong_with_a_period_is_said_of_what_was_given(given: Values, parameter: str, says: str) -> None:
    with pytest.raises(BadParameter, match=says) as refused:
        fill_period(dict(given), timedelta(days=1), NOW)
    assert refused.value.parameter == parameter


@pytest.mark.parametrize("path", ["/sessions", "/sessions/counts", "/sessions/export", "/drops", "/users/ann/why"])
async def test_a_period_that_has_not_begun_is_refused(api: httpx.AsyncClient, path: str) -> None:
    for query in ({"from": "2999-01-01T00:00:00Z"}, {"from": "2999-01-01T00:00:00Z", "to": "2999-01-02T00:00:00Z"}):
        error = (await api.get(path, params=query)).json()["error"]
        assert (error["code"], error["parameter"]) == (400, "from")
        assert error["message"].startswith("from: expected a time in the past: it is 20")


async def test_any_period_of_the_calendar_that_has_begun_may_be_asked_about(api: httpx.AsyncClient) -> None:
    """Schemathesis varies one parameter at a time, and only both together make a period."""
    paths = (await api.get("/openapi.json")).json()["paths"]
    with_period = {
        path
        for path, calls in paths.items()
        if {"from", "to"} <= {each["name"] for each in calls["get"]["parameters"]} and "live" not in path
    }
    assert len(with_period) > 8
    for path in (*with_period, "/channels?order=peak"):
        for since, until in PERIODS:
            url = httpx.URL(path.format(id="a", user="ann", channel="news"))
            answer = await api.get(url.copy_merge_params({"from": since, "to": until}))
            expected = (200, 404) if "{" in path else (200,)
            assert answer.status_code in expected, (path, since, until, answer.text)
