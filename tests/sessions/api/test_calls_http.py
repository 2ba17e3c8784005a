"""The read API: filters, pages, errors, and answers that match its description."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest

from proto.events import Closed, Opened, Subscribed
from services.sessions.api.filters import FILTERS
from services.sessions.api.questions import SESSIONS
from services.sessions.queries.places import Place
from tests.sessions.api.serving import reading
from tests.sessions.running import API_KEY
from tests.support.servers import Postgres

pytestmark = [pytest.mark.integration, pytest.mark.once]

USERS = ["ann", "bob", "ann/with a slash", "", "ümläut"]
COUNT = 60


ODD_USERS = [
    "",
    "x" * 513,
    "x" * 514,
    "x" * 512 + "y",
    "y" * 3000,
    "n\0l",
    "n\ufffdl",
    "line\nbreak",
    "line\n",
    "a/sessions",
    "..",
    "😀" * 600,
    "%2F+ &=#?",
]


@pytest.fixture
async def odd_api(postgres: Postgres) -> AsyncIterator[httpx.AsyncClient]:
    """The API over a session of each odd user, one of a user with a huge id, and one of the year 9999."""
    events = [Opened(at=number, connection=f"c{number}", user=user) for number, user in enumerate(ODD_USERS)]
    events.append(Opened(at=1, connection="huge", user="h" * 50_000))
    events.append(Opened(at=2**60, connection="last", user="someone"))
    async with reading(postgres, *events) as http:
        yield http


@pytest.fixture
async def api(postgres: Postgres) -> AsyncIterator[httpx.AsyncClient]:
    """The API over a database with 60 sessions: every third ended, every fifth away (for a day)."""
    events: list[Any] = []
    for n in range(COUNT):  # three at a time in the same millisecond: the id decides
        events.append(Opened(at=1_000 + n // 3, connection=f"c{n:02}", user=USERS[n % 5], session_key=f"k{n}"))
    for n in range(0, COUNT, 3):
        events.append(Closed(at=2_000, connection=f"c{n:02}", code=1001 if n % 5 == 0 else 1000, reason="bye"))
    events.append(Subscribed(at=1_500, connection="c07", channel="news", recovered=False))
    async with reading(postgres, *events) as http:
        yield http


def cursor_of(time: str, id_: str = "c07") -> str:
    """One of /sessions with this time."""
    cursor = SESSIONS.cursor_at({}, Place(datetime(2026, 1, 1, tzinfo=UTC), id_))
    of, filters, (_, *place) = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    return base64.urlsafe_b64encode(json.dumps([of, filters, [time, *place]]).encode()).decode()


async def test_a_key_that_may_publish_reads_nothing(api: httpx.AsyncClient):
    assert (await api.get("/sessions", headers={"X-API-Key": "reads"})).status_code == 200
    answer = await api.get("/sessions", headers={"X-API-Key": "publishes"})
    assert answer.status_code == 403
    assert answer.json()["error"]["message"] == (
        'reading sessions needs an API key of the scope "read" or "all"; that of "shop" is "publish"'
    )


async def all_ids(api: httpx.AsyncClient, path: str = "/sessions", **query: str | int) -> list[str]:
    ids: list[str] = []
    while True:
        answer = await api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        ids += [one["id"] for one in page["sessions"]]
        if page["next"] is None:
            return ids
        query["cursor"] = page["next"]


@pytest.mark.parametrize("limit", [1, 7, 60, 1000])
async def test_pages_hold_each_session_once_newest_first(api: httpx.AsyncClient, limit: int):
    assert await all_ids(api, limit=limit) == [f"c{n:02}" for n in reversed(range(COUNT))]


async def test_filters_narrow_and_combine(api: httpx.AsyncClient):
    ended, away = await all_ids(api, state="ended"), await all_ids(api, state="away")
    assert set(away) == {"c00", "c15", "c30", "c45"}
    assert len(ended) == 16
    assert len(await all_ids(api, state="open", limit=9)) == 40
    assert set(await all_ids(api, user="")) == {f"c{n:02}" for n in range(3, COUNT, 5)}
    assert await all_ids(api, user="ann", state="away") == ["c45", "c30", "c15", "c00"]
    assert await all_ids(api, edge="edge-2") == []
    assert len(await all_ids(api, edge="edge-1")) == COUNT


@pytest.mark.parametrize("path", ["/users/ann%2Fwith%20a%20slash/sessions", "/users/%C3%BCml%C3%A4ut/sessions"])
async def test_a_user_of_any_name_has_sessions(api: httpx.AsyncClient, path: str):
    assert len(await all_ids(api, path, limit=5)) == COUNT // 5


@pytest.mark.parametrize("number", range(len(ODD_USERS)))
async def test_a_user_id_of_any_length_and_character_is_found_and_no_other_with_it(
    odd_api: httpx.AsyncClient, number: int
):
    user = ODD_USERS[number]
    assert await all_ids(odd_api, user=user) == [f"c{number}"]
    (found,) = (await odd_api.get("/sessions", params={"user": user})).json()["sessions"]
    assert await all_ids(odd_api, user=found["user"]) == [f"c{number}"], "as it is listed"
    if user not in ("", ".."):  # clients take ".." out of a path
        assert await all_ids(odd_api, f"/users/{quote(user, safe='')}/sessions") == [f"c{number}"]


async def test_a_user_id_too_long_for_a_request_is_found_as_it_is_listed(odd_api: httpx.AsyncClient):
    listed = (await odd_api.get("/sessions/huge")).json()["user"]
    assert listed.startswith("h" * 400) and len(listed) == 512
    assert await all_ids(odd_api, user=listed) == ["huge"]


async def test_the_last_page_of_the_calendar_has_a_next_one(odd_api: httpx.AsyncClient):
    """An edge whose clock is wrong writes any time."""
    ids = await all_ids(odd_api, limit=1)
    assert ids[0] == "last" and len(ids) == len(ODD_USERS) + 2


async def test_one_session_with_its_parts(api: httpx.AsyncClient):
    found = (await api.get("/sessions/c07")).json()
    assert found["opened_at"] == "1970-01-01T00:00:01.002000Z"
    assert [one["id"] for one in found["connections"]] == ["c07"]
    assert [(one["channel"], one["recovered"], one["until"]) for one in found["subscriptions"]] == [
        ("news", False, None)
    ]


@pytest.mark.parametrize(
    "time",
    [
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "4713-01-01T00:00:00+14:00",
    ],
)
async def test_a_cursor_may_have_any_time(api: httpx.AsyncClient, time: str):
    answer = await api.get("/sessions", params={"cursor": cursor_of(time)})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/sessions?limit=0", 400, "limit: expected a number between 1 and 1000"),
        ("/sessions?limit=1001", 400, "limit"),
        ("/sessions?limit=-1", 400, "limit"),
        ("/sessions?limit=\u0661", 400, "limit"),
        ("/sessions?state=gone", 400, "state: expected open, away or ended"),
        ("/sessions?cursor=x", 400, "cursor: expected the value of `next`"),
        ("/sessions?cursor=%ff%00", 400, "cursor"),
        ("/sessions?cursor=WyJzZXNzaW9ucyIsIjE5NzAtMDEtMDFUMDA6MDA6MDAiLCJhIl0", 400, "cursor"),
        ("/sessions?uesr=ann", 400, "uesr: unknown parameter"),
        ("/sessions?user=a&user=b", 400, "user: expected once"),
        ("/sessions?edge=%00", 400, "edge: expected valid text"),
        *(
            ("/sessions?cursor=" + cursor_of(time), 400, "cursor: expected the value of `next`")
            for time in ("10000-01-01T00:00:00Z", "")
        ),
        ("/sessions?user=%ff", 400, "user: expected UTF-8"),
        ("/sessions?after_position=%ff:1", 400, "after_position: expected UTF-8"),
        ("/sessions?%ff=1", 400, "?: unknown parameter"),
        ("/users//why", 400, "user: expected a user id"),
        ("/users/", 400, "user: expected a user id"),
        ("/sessions/nobody", 404, "nobody"),
        ("/sessions/%00", 400, "id"),
        ("/nowhere", 404, "Not Found"),
        ("/sessions/", 404, "Not Found"),
    ],
)
async def test_bad_input_is_answered_by_name(api: httpx.AsyncClient, path: str, status: int, says: str):
    answer = await api.get(path)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert says in error["message"]
    assert error["parameter"] == (says.partition(":")[0] if status == 400 else None)


async def test_the_key_is_needed_and_the_answer_says_where(api: httpx.AsyncClient):
    for headers in ({"X-API-Key": ""}, {"X-API-Key": "wrong"}, {"X-API-Key": "", "Authorization": "apikey wrong"}):
        answer = await api.get("/sessions", headers=headers)
        assert answer.status_code == 401
        assert "X-API-Key" in answer.json()["error"]["message"]
    other = {"X-API-Key": "", "Authorization": f"apikey {API_KEY}"}
    assert (await api.get("/sessions", headers=other)).status_code == 200


async def test_another_method_is_told_those_that_are_allowed(api: httpx.AsyncClient):
    answer = await api.post("/sessions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["error"]["message"] == "POST is not allowed here, expected GET or HEAD"


async def test_answers_are_what_the_description_says(api: httpx.AsyncClient):
    described = (await api.get("/openapi.json", headers={"X-API-Key": ""})).json()
    for path, url, status in (
        ("/sessions", "/sessions?limit=60", "200"),
        ("/sessions", "/sessions?limit=0", "400"),
        ("/sessions/{id}", "/sessions/c07", "200"),
        ("/sessions/{id}", "/sessions/c00", "200"),
        ("/sessions/{id}", "/sessions/nobody", "404"),
        ("/users/{user}/sessions", "/users/ann/sessions", "200"),
    ):
        answer = await api.get(url)
        assert str(answer.status_code) == status
        schema = described["paths"][path]["get"]["responses"][status]["content"]["application/json"]["schema"]
        validator = jsonschema.Draft202012Validator(
            {**schema, "components": described["components"]}, format_checker=jsonschema.FormatChecker()
        )
        body = answer.json()
        validator.validate(body)
        assert "error" in body or not validator.is_valid({**body, "sessions": 1, "id": 1}), (
            "the schema refuses something"
        )
    parameters = {one["name"] for one in described["paths"]["/sessions"]["get"]["parameters"]}
    assert parameters == {each.name for each in FILTERS} | {"limit", "cursor", "after_position"}
