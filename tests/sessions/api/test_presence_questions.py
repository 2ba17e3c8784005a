"""Who is there: now, if nothing else is asked; an answer is new at each moment. Lists that are cut say so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from proto.events import Closed, EdgeStarted, Opened, Refused, Subscribed
from services.chassis.postgres.pool import Pool
from services.sessions.api.calls import too_slow
from services.sessions.api.presence_questions import PresenceQuestions
from services.sessions.queries.presence_postgres import Presence
from services.sessions.queries.present_counts_postgres import PresenceCounts
from services.sessions.queries.user_story_postgres import UserStories
from tests.sessions.api.serving import reading
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


@pytest.fixture
async def api(postgres: Postgres) -> AsyncIterator[httpx.AsyncClient]:
    """The API over three users, of whom one has left, two channels and two refusals of the last minute."""
    at = int(datetime.now(UTC).timestamp() * 1000) - 60_000
    events = [
        EdgeStarted(at=at, software="1"),
        *(Opened(at=at + n, connection=f"c{n}", user=f"u{n}", client_name="web") for n in range(3)),
        *(Subscribed(at=at + 9, connection=f"c{n}", channel=f"room{n % 2}") for n in range(3)),
        Closed(at=at + 20, connection="c2", code=1000),
        *(Refused(at=at + n, action="connect", code=3500) for n in range(2)),
    ]
    async with reading(postgres, *events) as http:
        yield http


async def test_who_is_there_now_is_asked_without_a_moment(api: httpx.AsyncClient) -> None:
    answer = await api.get("/who")
    assert [(one["user"], one["channels"]) for one in answer.json()["sessions"]] == [
        ("u1", ["room1"]),
        ("u0", ["room0"]),
    ]
    assert [one["user"] for one in (await api.get("/who", params={"channel": "room1"})).json()["sessions"]] == ["u1"]
    assert (await api.get("/who/counts")).json()["total"] == 2
    again = await api.get("/who", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 200 and again.json()["at"] > answer.json()["at"], "the moment is another one"
    moment = {"at": answer.json()["at"]}
    told = await api.get("/who", params=moment)
    assert told.json() == answer.json()
    assert (await api.get("/who", params=moment, headers={"If-None-Match": told.headers["etag"]})).status_code == 304


@pytest.mark.parametrize("path", ["/who", "/users", "/channels", "/channels?order=peak", "/refusals"])
async def test_a_list_that_is_cut_says_so(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path, params={"limit": "1"} | dict(httpx.URL(path).params))).json()["more"] is True
    assert (await api.get(path, params={"limit": "9"} | dict(httpx.URL(path).params))).json()["more"] is False


async def test_channels_have_pages(api: httpx.AsyncClient) -> None:
    first = (await api.get("/channels", params={"limit": "1"})).json()
    then = (await api.get("/channels", params={"limit": "1", "cursor": first["next"]})).json()
    assert [one["channel"] for one in (*first["channels"], *then["channels"])] == ["room1", "room0"]
    assert (then["more"], then["next"]) == (False, None)
    refused = await api.get("/channels", params={"order": "peak", "cursor": first["next"]})
    assert refused.status_code == 400 and refused.json()["error"]["parameter"] == "cursor"


async def test_of_a_user_who_never_was_there_nothing_is_told(api: httpx.AsyncClient) -> None:
    answer = await api.get("/users/nobody/why")
    assert answer.status_code == 404 and "user 'nobody' is not known" in answer.json()["error"]["message"]
    (end,) = (await api.get("/users/u2/why")).json()["ends"]
    assert (end["code"], end["back"]) == (1000, None)


def test_who_asks_for_too_much_is_told_a_filter_that_is_not_there_yet() -> None:
    pool = Pool("", 1)
    who, *_ = PresenceQuestions(Presence(pool), PresenceCounts(pool), UserStories(pool)).questions()
    for given, advice in (
        ({}, "add `edge`, or `channel`"),
        ({"edge": "edge-1"}, "add `channel`"),
        ({"edge": "edge-1", "channel": "news"}, "try again"),
    ):
        assert too_slow(who, given).endswith(f" s: {advice}")
