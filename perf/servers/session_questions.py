"""Every question that operators ask about sessions, with random arguments: on the command line, which asks PostgreSQL,
and over the HTTP API.
"""

from __future__ import annotations

import asyncio
import http.client
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from perf.errors import RunFailed
from perf.servers.session_rows import Picked
from services.chassis.postgres.pool import Pool
from services.sessions.queries.channels_postgres import Channels
from services.sessions.queries.drops_postgres import DropCounts, DropsBy
from services.sessions.queries.edges_postgres import Edges
from services.sessions.queries.periods import Period
from services.sessions.queries.presence_postgres import Presence
from services.sessions.queries.refusals_postgres import RefusalCounts
from services.sessions.queries.subscribed_channels_postgres import SubscribedChannels
from services.sessions.queries.timeline_postgres import Timelines
from services.sessions.queries.user_story_postgres import UserStories
from services.sessions.queries.users_postgres import Users
from services.sessions.queries.versions_postgres import VersionQueries

LIMIT: Final = 100
"""Rows that are asked for."""

_LENGTHS: Final = [timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=7)]
_MONTH: Final = timedelta(days=28)
_HOUR: Final = timedelta(hours=1)
_END_CODES: Final = (1000, 1001, 1006, 3005)
_ANSWER_S: Final = 30.0


class Question(NamedTuple):
    """`ask` asks once, about something else each time."""

    name: str
    ask: Callable[[], Awaitable[object]]


class Chance:
    """Chooses at random what to ask about next."""

    def __init__(self, picked: Picked, seed: int) -> None:
        self.picked = picked
        self.random = random.Random(seed)

    def moment(self) -> datetime:
        """Some moment of the month."""
        return self.random.choice(self.picked.moments)

    def period(self) -> Period:
        """A quarter of an hour to a week, up to now or some time ago."""
        until = self.random.choice([self.picked.now, max(self.picked.moments), self.moment()])
        return Period(until - self.random.choice(_LENGTHS), until)

    def month(self) -> Period:
        """The whole month."""
        return Period(self.picked.now - _MONTH, self.picked.now)

    def user(self) -> str:
        return self.random.choice(self.picked.users)

    def session(self) -> str:
        return self.random.choice(self.picked.sessions)

    def channel(self) -> str:
        """A busy channel, or a room with few members."""
        return self.random.choice(self.random.choice([self.picked.channels, self.picked.rooms, ["news"]]))

    def version(self) -> str:
        """A client's version that some sessions had."""
        return f"5.{self.random.randint(0, 3)}"

    def edge(self) -> str:
        return f"edge-{self.random.randint(1, 8)}"


def of_the_command_line(pool: Pool, chance: Chance) -> list[Question]:
    """The questions of `python -m services.sessions`, without the start of its process."""
    presence, drops, channels, users = Presence(pool), DropCounts(pool), Channels(pool), Users(pool)
    refusals, edges, stories, versions = RefusalCounts(pool), Edges(pool), UserStories(pool), VersionQueries(pool)
    timelines = Timelines(pool)

    def by(column: DropsBy) -> Question:
        return Question(f"drops --by {column}", lambda: drops.ask(chance.period(), column))

    return [
        Question("who --at", lambda: presence.at(chance.moment(), LIMIT)),
        Question("who --at now", lambda: presence.at(chance.picked.now, LIMIT)),
        Question("who --at --user", lambda: presence.at(chance.moment(), LIMIT, user=chance.user())),
        Question("who --at --channel", lambda: presence.at(chance.moment(), LIMIT, channel=chance.channel())),
        Question("who --at --edge", lambda: presence.at(chance.moment(), LIMIT, edge=chance.edge())),
        Question("why", lambda: stories.why(chance.user(), chance.period(), LIMIT)),
        Question("why, a month", lambda: stories.why(chance.user(), chance.month(), LIMIT)),
        Question("timeline", lambda: timelines.of(chance.random.choice(chance.picked.with_timeline))),
        Question(
            "timeline, by the beginning of an id",
            lambda: timelines.beginning_with(chance.random.choice(chance.picked.with_timeline)[:8]),
        ),
        by("code"),
        by("version"),
        by("edge"),
        by("by"),
        Question("drops, a month", lambda: drops.ask(chance.month())),
        Question("channels", lambda: SubscribedChannels(pool).page(LIMIT)),
        Question("channels --peak", lambda: channels.peaks(chance.period(), LIMIT)),
        Question("channels --peak, a month", lambda: channels.peaks(chance.month(), LIMIT)),
        Question("channels of one", lambda: channels.curve(chance.channel(), chance.month())),
        Question("versions", lambda: versions.ask(chance.period())),
        Question("users", lambda: users.seen(chance.period(), LIMIT)),
        Question("users of one", lambda: users.one(chance.user())),
        Question("refusals", lambda: refusals.ask(chance.period())),
        Question("refusals --by user", lambda: refusals.ask(chance.period(), "user")),
        Question("refusals, each", lambda: refusals.ones(chance.period(), LIMIT)),
        Question("edges", lambda: edges.during(chance.period(), LIMIT)),
        Question("edges, the last deploy", lambda: edges.last_deploy(chance.moment())),
    ]


class Api:
    """A client of the HTTP API that keeps its connection."""

    def __init__(self, port: int, key: str) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
        self._headers = {"X-API-Key": key}

    async def get(self, path: str, **query: object) -> bytes:
        """An answer. Raises `RunFailed` if it is not 200."""
        return await asyncio.to_thread(self._get, f"{path}?{urlencode(query)}" if query else path)

    def _get(self, url: str) -> bytes:
        try:
            self._http.request("GET", url, headers=self._headers)
            answer = self._http.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()  # the next question begins with a connection of its own
            raise RunFailed(f"GET {url}: {str(error) or type(error).__name__}") from None
        if answer.status != http.client.OK:
            raise RunFailed(f"GET {url}: {answer.status} {body[:200]!r}")
        return body


def of_the_api(api: Api, chance: Chance) -> list[Question]:
    """The questions over HTTP, including the time of the service and of this client: each filter, and what the command
    line does not have."""

    def sessions(name: str, query: Callable[[], dict[str, object]]) -> Question:
        return Question(f"GET /sessions{name}", lambda: api.get("/sessions", **query()))

    async def second_page() -> None:
        edge = chance.edge()
        first = msgspec.json.decode(await api.get("/sessions", edge=edge), type=_Page)
        await api.get("/sessions", edge=edge, cursor=first.next)

    def within(length: timedelta) -> dict[str, object]:
        until = chance.moment()
        return {"from": _text(until - length), "to": _text(until)}

    return [
        sessions("", dict),
        sessions("?state=open", lambda: {"state": "open"}),
        sessions("?state=away", lambda: {"state": "away"}),
        sessions("?state=ended", lambda: {"state": "ended"}),
        sessions("?user", lambda: {"user": chance.user()}),
        sessions("?channel", lambda: {"channel": chance.channel()}),
        sessions("?edge", lambda: {"edge": chance.edge()}),
        sessions("?edge&state=away", lambda: {"edge": chance.edge(), "state": "away"}),
        sessions("?end_code", lambda: {"end_code": chance.random.choice(_END_CODES)}),
        sessions("?client_name&client_version", lambda: {"client_name": "js", "client_version": chance.version()}),
        sessions("?client_version", lambda: {"client_version": chance.version()}),
        sessions("?address", lambda: {"address": chance.random.choice(chance.picked.addresses)}),
        sessions("?from&to", lambda: within(_HOUR)),
        sessions("?at", lambda: {"at": _text(chance.moment())}),
        sessions("?at&channel", lambda: {"at": _text(chance.moment()), "channel": chance.channel()}),
        Question("GET /sessions?edge&cursor, with the page before", second_page),
        Question("GET /sessions/{id}", lambda: api.get(f"/sessions/{chance.session()}")),
        Question("GET /users/{user}/sessions", lambda: api.get(f"/users/{quote(chance.user())}/sessions")),
        Question(
            "GET /sessions/counts?group=edge,client_version, a month",
            lambda: api.get(
                "/sessions/counts", **{"from": _text(chance.month().since)}, group="edge,client_version", interval="1d"
            ),
        ),
        Question(
            "GET /sessions/counts?group=end_code, 15 minutes",
            lambda: api.get("/sessions/counts", **within(_LENGTHS[0]), group="end_code"),
        ),
        Question("GET /who/counts", lambda: api.get("/who/counts", at=_text(chance.moment()))),
        Question(
            "GET /who/counts?channel",
            lambda: api.get("/who/counts", at=_text(chance.moment()), channel=chance.channel()),
        ),
    ]


class _Page(msgspec.Struct):
    next: str | None


def _text(at: datetime) -> str:
    return at.isoformat()
