"""Every question has an answer of the shape that is described; the models' rows are those of a story."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import jsonschema
import pytest

from proto.events import BY_NETWORK, Closed, EdgeFound, EdgeLost, EdgeStarted, Opened, Refused, Subscribed, Unsubscribed
from services.chassis.postgres.pool import Pool
from services.sessions.api import calls
from services.sessions.api.paging import OF_ANOTHER_LIST, OF_OTHER_FILTERS
from tests.sessions.api.serving import Log, asking
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

DAY = datetime(2026, 11, 28, tzinfo=UTC)
T0 = int(DAY.timestamp() * 1000)
MINUTE, HOUR = 60_000, 3_600_000
PERIOD = {"from": "2026-11-28T00:00:00Z", "to": "2026-11-29T00:00:00Z"}

STORY: list[Any] = [
    EdgeStarted(at=T0, software="1.9"),
    Opened(at=T0 + MINUTE, connection="a1", user="ann", client_name="web", client_version="1", address="10.1.0.1"),
    Opened(at=T0 + 2 * MINUTE, connection="b1", user="bob", client_name="web", client_version="2", address="10.2.0.1"),
    Subscribed(at=T0 + 3 * MINUTE, connection="a1", channel="news"),
    Subscribed(at=T0 + 4 * MINUTE, connection="b1", channel="news"),
    Unsubscribed(at=T0 + 5 * MINUTE, connection="b1", channel="news"),
    Closed(at=T0 + 2 * HOUR, connection="a1", code=1006, by=BY_NETWORK),
    Opened(at=T0 + 2 * HOUR + 9, connection="a2", user="ann", client_name="web", client_version="1"),
    Opened(at=T0 + 3 * HOUR, connection="c1", user="ann", client_name="phone", client_version="1"),
    Closed(at=T0 + 4 * HOUR, connection="c1", code=1000),
    Refused(at=T0 + 5 * HOUR, action="connect", code=3500, reason="no token", user="eve", user_agent="curl", count=3),
]

QUESTIONS = {
    "/sessions": PERIOD,
    "/sessions/counts": {**PERIOD, "group": "edge,client_version", "interval": "1h"},
    "/sessions/{id}": {},
    "/sessions/{id}/timeline": {},
    "/users/{user}/sessions": {},
    "/who": {"at": "2026-11-28T00:04:30Z"},
    "/who/counts": {"at": "2026-11-28T00:04:30Z", "by": "version"},
    "/users/{user}/why": PERIOD,
    "/users": PERIOD,
    "/users/{user}": {},
    "/channels": {**PERIOD, "order": "peak"},
    "/channels/{channel}": PERIOD,
    "/drops": PERIOD,
    "/refusals": {**PERIOD, "by": "user"},
    "/edges": PERIOD,
    "/versions": PERIOD,
}


async def test_every_question_is_answered_as_described_with_what_happened(postgres: Postgres) -> None:
    async with Pool(postgres.url, 4) as pool, asking(postgres.url) as http:
        position = await Log(pool).write(*STORY)
        described = (await http.get("/openapi.json")).json()
        assert {path for path in described["paths"] if "export" not in path and "live" not in path} == set(QUESTIONS)
        answers: dict[str, Any] = {}
        for path, query in QUESTIONS.items():
            answer = await http.get(path.format(id="a2", user="ann", channel="news"), params=query)
            assert answer.status_code == 200, (path, answer.text)
            assert answer.headers["fairlead-position"] == f"e:{position.sequence}" and answer.headers["etag"]
            schema = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.Draft202012Validator(
                {**schema, "components": described["components"]}, format_checker=jsonschema.FormatChecker()
            ).validate(answer.json())
            answers[path] = answer.json()
            missing = await http.get(path.format(id="no", user="no", channel="no"), params=query)
            assert missing.status_code == (404 if "{" in path and path != "/users/{user}/sessions" else 200), path
            await refuses(http, path)
    says_what_happened(answers)


async def refuses(http: httpx.AsyncClient, path: str) -> None:
    """Nonsense is refused by name."""
    answer = await http.get(path.format(id="a2", user="ann", channel="news"), params={"nonsense": "1"})
    assert answer.status_code == 400 and answer.json()["error"]["parameter"] == "nonsense"


def says_what_happened(answers: dict[str, Any]) -> None:
    assert [one["id"] for one in answers["/sessions"]["sessions"]] == ["c1", "b1", "a1"]
    counts = answers["/sessions/counts"]
    assert counts["source"] == "openings" and counts["interval_s"] == 3600
    assert [(one["at"], one["client_version"], one["count"]) for one in counts["counts"]] == [
        ("2026-11-28T00:00:00Z", "1", 1),
        ("2026-11-28T00:00:00Z", "2", 1),
        ("2026-11-28T03:00:00Z", "1", 1),
    ]
    connections = [(one["id"], one["address"]) for one in answers["/sessions/{id}"]["connections"]]
    assert answers["/sessions/{id}"]["id"] == "a1" and connections == [("a2", ""), ("a1", "10.1.0.1")]
    facts = [(one["type"], one["connection"]) for one in answers["/sessions/{id}/timeline"]["facts"]]
    assert facts == [("opened", "a1"), ("subscribed", "a1"), ("closed", "a1"), ("opened", "a2")]
    assert {one["id"] for one in answers["/users/{user}/sessions"]["sessions"]} == {"a1", "c1"}
    present = answers["/who"]["sessions"]
    assert [(one["user"], one["connection"], one["address"], one["channels"]) for one in present] == [
        ("bob", "b1", "10.2.0.1", ["news"]),
        ("ann", "a1", "10.1.0.1", ["news"]),
    ], "then, though ann is there on another connection now and bob has left the channel"
    assert [(one["client_version"], one["count"]) for one in answers["/who/counts"]["groups"]] == [("1", 1), ("2", 1)]
    wanted, broke = answers["/users/{user}/why"]["ends"]
    assert (broke["code"], broke["by"], broke["back"]["connection"], wanted["code"]) == (1006, "network", "a2", 1000)
    assert {one["user"]: one["sessions"] for one in answers["/users"]["users"]} == {"ann": 2, "bob": 1}
    assert {one["user"]: one["connected"] for one in answers["/users"]["users"]} == {"ann": 1, "bob": 1}
    assert answers["/users/{user}"]["connected"] == 1 and len(answers["/users/{user}"]["devices"]) == 2
    assert [(one["channel"], one["peak"]) for one in answers["/channels"]["channels"]] == [("news", 2)]
    curve = answers["/channels/{channel}"]["curve"]
    assert [one["peak"] for one in curve[:4]] == [2, 1, 1, 0] and len(curve) == 24
    assert answers["/drops"]["total"] == 1 and answers["/drops"]["goodbyes"] == 1
    (refused,) = answers["/refusals"]["latest"]
    assert answers["/refusals"]["counts"]["total"] == 3 and (refused["user"], refused["user_agent"]) == ("eve", "curl")
    (edge,) = answers["/edges"]["edges"]
    assert edge["software"] == "1.9" and edge["state"] == "running" and edge["opened"] == 4
    versions = answers["/versions"]["versions"]
    connected = {(one["client_name"], one["client_version"]): one["sessions"] for one in versions}
    assert connected == {("web", "1"): 1, ("web", "2"): 1, ("phone", "1"): 0}


async def test_an_edge_that_hung_and_one_that_did_not_are_told_apart(postgres: Postgres) -> None:
    async with Pool(postgres.url, 4) as pool, asking(postgres.url) as http:
        log = Log(pool)
        await log.write(EdgeStarted(at=T0, software="1.9"))
        await log.write(EdgeStarted(at=T0 + 1, software="1.9"), edge="edge-2")
        for minute, fact in enumerate((EdgeLost, EdgeFound, EdgeLost, EdgeFound, EdgeLost)):
            await log.write(fact(at=T0 + minute * MINUTE, instance="i-edge-2"))
        hung, other = (await http.get("/edges", params=PERIOD)).json()["edges"]
    told = ("edge", "state", "times_hung", "hung_at", "found_at")
    assert [hung[name] for name in told] == ["edge-2", "lost", 2, "2026-11-28T00:02:00Z", "2026-11-28T00:03:00Z"]
    assert hung["lost_at"] == "2026-11-28T00:04:00Z", "it may hang again, or be dead"
    assert [other[name] for name in told] == ["edge-1", "running", 0, None, None]


PAGED: dict[str, tuple[str, set[Any]]] = {
    "/sessions": ("sessions", {"b1", "c1", "a1"}),
    "/who": ("sessions", {"a1", "b1"}),
    "/users": ("users", {"ann", "bob"}),
    "/refusals": ("latest", {3, 4, 5, 6}),
    "/edges": ("edges", {"i-edge-1", "i-edge-2"}),
}
"""Lists that go on at `next`, with what all pages have together."""

KEYS = {"sessions": "id", "users": "user", "latest": "count", "edges": "instance"}


async def test_lists_go_on_at_their_own_cursor_until_the_last_page(postgres: Postgres) -> None:
    async with Pool(postgres.url, 4) as pool, asking(postgres.url) as http:
        log = Log(pool)
        await log.write(*STORY)
        await log.write(
            EdgeStarted(at=T0 + 1, software="1.9"),
            *(Refused(at=T0 + HOUR, action="connect", code=3500, count=n) for n in range(4, 7)),
            edge="edge-2",
        )
        cursors: dict[str, str] = {}
        for path, (rows, expected) in PAGED.items():
            found, asked = [], {**QUESTIONS[path], "limit": "1"}
            for _ in range(10):
                page = (await http.get(path, params=asked)).json()
                found += [one[KEYS[rows]] for one in page[rows]]
                if page["next"] is None:
                    break
                asked["cursor"] = cursors[path] = page["next"]
            assert len(found) == len(expected) and set(found) == expected, path
        for path, other in (
            ("/sessions", "/users"),
            ("/who", "/edges"),
            ("/users", "/sessions"),
            ("/refusals", "/who"),
            ("/who", "/sessions"),
            ("/users/ann/sessions", "/sessions"),
        ):
            answer = await http.get(path, params={"cursor": cursors[other]})
            message = f"cursor: {OF_ANOTHER_LIST}"
            assert answer.json()["error"] == {"code": 400, "message": message, "parameter": "cursor"}, path
        for path, filters in (("/sessions", {}), ("/who", {"user": "ann"}), ("/refusals", {"user": "ann"})):
            answer = await http.get(path, params={**filters, "cursor": cursors[path]})
            message = f"cursor: {OF_OTHER_FILTERS}"
            assert answer.json()["error"] == {"code": 400, "message": message, "parameter": "cursor"}, path


GROUPS = ("user", "channel", "edge", "end_code", "client_name", "client_version", "address", "state")


async def test_sessions_are_counted_by_anything(postgres: Postgres) -> None:
    async with Pool(postgres.url, 4) as pool, asking(postgres.url) as http:
        await Log(pool).write(*STORY)

        async def counted(**query: str) -> dict[str, int]:
            answer = await http.get("/sessions/counts", params={**PERIOD, **query})
            assert answer.status_code == 200, answer.text
            names = query.get("group", "").split(",") if query.get("group") else []
            return {" ".join(str(one[name]) for name in names): one["count"] for one in answer.json()["counts"]}

        assert await counted() == {"": 3}
        assert await counted(group="user") == {"ann": 2, "bob": 1}
        assert await counted(group="channel") == {"news": 2}
        assert await counted(group="end_code,state") == {"None open": 2, "1000 ended": 1}
        assert await counted(group="client_version", user="ann") == {"1": 2}
        assert await counted(channel="news") == {"": 2}
        assert await counted(channel="news", **{"from": "2026-11-28T00:01:30Z"}) == {"": 1}
        assert await counted(group="client_version", edge="nowhere") == {}
        assert await counted(group="address", at="2026-11-28T00:10:00Z") == {"": 1, "10.2.0.1": 1}
        for group in GROUPS:
            assert sum((await counted(group=group, interval="15m")).values()) > 0, group
        for query, parameter in (
            ({"group": "user", "from": "2026-11-01T00:00:00Z"}, "from"),
            ({"group": "address", "user": "", "from": "2026-11-01T00:00:00Z"}, "from"),
            ({"group": "nobody"}, "group"),
            ({"interval": "90s"}, "interval"),
            ({"from": "2024-11-01T00:00:00Z"}, "from"),
        ):
            answer = await http.get("/sessions/counts", params={**PERIOD, **query})
            assert answer.status_code == 400 and answer.json()["error"]["parameter"] == parameter
        for at, minute, count in (("00:10:30", "00:11", 2), ("00:02:00", "00:03", 2), ("00:01:59", "00:02", 1)):
            asked = {"group": "edge", "at": f"2026-11-28T{at}Z"}
            then = (await http.get("/sessions/counts", params=asked)).json()
            assert sum(one["count"] for one in then["counts"]) == count, (
                "who was there, opened at that moment or before"
            )
            assert then["period"] == {"since": f"2026-11-27T{minute}:00Z", "until": f"2026-11-28T{minute}:00Z"}


async def test_sessions_of_a_moment_are_counted_by_the_edges_and_channels_of_that_time(postgres: Postgres) -> None:
    async with Pool(postgres.url, 4) as pool, asking(postgres.url) as http:
        log = Log(pool)
        await log.write(*STORY, Closed(at=T0 + 6 * HOUR, connection="b1", code=1006, by=BY_NETWORK))
        moved = Opened(at=T0 + 6 * HOUR + 9, connection="b2", user="bob", client_name="web", client_version="2")
        await log.write(moved, Subscribed(at=T0 + 6 * HOUR + 10, connection="b2", channel="sport"), edge="edge-2")

        async def counted(at: str, group: str, **query: str) -> dict[str, int]:
            asked = {**PERIOD, "group": group, "at": f"2026-11-28T{at}Z", **query}
            found = (await http.get("/sessions/counts", params=asked)).json()["counts"]
            return {one[group]: one["count"] for one in found}

        assert (await http.get("/sessions/b2")).json()["id"] == "b1", "one session, which moved to another edge"
        assert await counted("00:04:30", "edge") == {"edge-1": 2}
        assert await counted("00:04:30", "edge", edge="edge-1") == {"edge-1": 2}
        assert await counted("00:04:30", "edge", channel="news") == {"edge-1": 2}
        assert await counted("00:04:30", "edge", edge="edge-2") == {}
        assert await counted("06:30:00", "edge") == {"edge-1": 1, "edge-2": 1}
        assert await counted("00:04:30", "channel") == {"news": 2}
        assert await counted("00:06:00", "channel") == {"news": 1}
        assert await counted("06:30:00", "channel") == {"sport": 1}


async def test_counts_of_openings_are_those_of_sessions_whatever_the_interval(postgres: Postgres) -> None:
    """The two ways to count agree where connections do not move between edges."""
    async with Pool(postgres.url, 4) as pool, asking(postgres.url) as http:
        events = [
            Opened(at=T0 + n * 7 * MINUTE, connection=f"s{n}", user=f"u{n}", client_version=str(n % 3))
            for n in range(90)
        ]
        await Log(pool).write(*events)
        for period in (PERIOD, {"from": "2026-11-28T01:07:00Z", "to": "2026-11-28T07:28:00Z"}):
            for interval in ("", "1m", "15m", "1h", "90m", "1d"):
                asked = {**period, "group": "client_version", **({"interval": interval} if interval else {})}
                fast = (await http.get("/sessions/counts", params=asked)).json()
                slow = (await http.get("/sessions/counts", params={**asked, "state": "open"})).json()
                assert (fast["source"], slow["source"]) == ("openings", "sessions")
                assert fast["counts"] == slow["counts"] and fast["counts"], interval


async def test_a_question_that_takes_too_long_says_which_filter_to_add(postgres: Postgres) -> None:
    holder = await asyncpg.connect(postgres.url)
    async with Pool(postgres.url, 2) as pool, asking(postgres.url) as http, holder.transaction():
        await Log(pool).write(*STORY)
        await holder.execute("LOCK TABLE subscriptions IN ACCESS EXCLUSIVE MODE")
        answer = await http.get("/sessions", params={"channel": "news"})
        assert answer.status_code == 503
        assert "within 3 s: add `from` (and `to`), or `user`" in answer.json()["error"]["message"]
        assert (await http.get("/sessions", params={"user": "ann"})).status_code == 200, "the connection is well"
    await holder.close()


@pytest.mark.parametrize("path", ["/versions", "/users", "/users/ann", "/channels", "/edges"])
async def test_no_question_holds_a_connection_for_longer_than_a_statement_may_take(
    postgres: Postgres, path: str
) -> None:
    holder = await asyncpg.connect(postgres.url)
    async with asking(postgres.url, statement_s=0.3) as http, holder.transaction():
        for table in ("opening_versions", "user_devices", "channels", "edges"):
            await holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        answer = await http.get(path)
        assert answer.status_code == 503, answer.text
        assert "did not find the answer within 3 s" in answer.json()["error"]["message"]
    await holder.close()


async def test_an_etag_holds_until_a_fact_or_the_clock_changes_the_answer(postgres: Postgres) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    async with Pool(postgres.url, 4) as pool, asking(postgres.url) as http:
        log = Log(pool, window_ms=3_600_000)
        await log.write(
            Opened(at=now - HOUR, connection="a", user="ann"), Closed(at=now - HOUR // 2, connection="a", code=1006)
        )

        async def ask(tag: str = "", **query: str) -> httpx.Response:
            return await http.get("/sessions", params=query, headers={"If-None-Match": tag})

        first = await ask(state="away")
        assert [one["id"] for one in first.json()["sessions"]] == ["a"]
        again = await ask(first.headers["etag"], state="away")
        assert (again.status_code, again.content) == (304, b"") and again.headers["fairlead-position"] == "e:1"
        assert (await ask(first.headers["etag"], state="open")).status_code == 200, "another question"
        moved = await execute(postgres, "UPDATE sessions SET away_until = now() - interval '1 ms'")
        assert moved == "UPDATE 1"
        over = await ask(first.headers["etag"], state="away")
        assert over.status_code == 200 and over.json()["sessions"] == [], "his time has passed, without a fact"
        await log.write(Opened(at=now, connection="b", user="bob"))
        assert (await ask(over.headers["etag"], state="away")).status_code == 200


async def execute(postgres: Postgres, statement: str) -> str:
    database = await asyncpg.connect(postgres.url)
    try:
        return await database.execute(statement)
    finally:
        await database.close()


async def test_an_answer_waits_for_the_position_that_it_is_asked_for(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Pool(postgres.url, 4) as pool, asking(postgres.url) as http:
        log = Log(pool)
        await log.write(*STORY)
        assert (await http.get("/sessions", params={"after_position": "e:1"})).status_code == 200
        waiting = http.get("/sessions", params={"user": "zoe"}, headers={"After-Position": "e:2"})
        answers: list[httpx.Response] = []

        async with asyncio.TaskGroup() as group:
            group.create_task(keep(waiting, answers))
            await log.write(Opened(at=T0 + HOUR, connection="z", user="zoe"))
        assert [one["id"] for one in answers[0].json()["sessions"]] == ["z"]
        monkeypatch.setattr(calls, "POSITION_WAIT_S", 0.2)
        late = await http.get("/sessions", params={"after_position": "e:9"})
        assert late.status_code == 503 and late.headers["fairlead-position"] == "e:2"
        assert "the rows are at e:2 and did not reach e:9 within 0.2 s" in late.json()["error"]["message"]
        for wrong in ("9", "e:", "e:x", "e:-1"):
            assert (await http.get("/sessions", params={"after_position": wrong})).status_code == 400


async def keep(asked: Any, answers: list[httpx.Response]) -> None:
    answers.append(await asked)
