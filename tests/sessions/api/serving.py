"""The read API over a database, without a process: its application, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from proto.events import EventBatch
from services.chassis.http.api_key import ApiKeys
from services.chassis.http.application import make_application
from services.chassis.postgres.pool import Pool
from services.chassis.process.api_keys import ApiKey, HttpApiSettings
from services.sessions.api.calls import Calls
from services.sessions.api.calls_http import SessionsApi, on_http_error
from services.sessions.api.export_http import DESCRIPTION as EXPORT
from services.sessions.api.export_http import ExportApi
from services.sessions.api.live import Hub
from services.sessions.api.live_http import DESCRIPTION as LIVE
from services.sessions.api.live_http import LiveApi
from services.sessions.api.model_questions import ModelQuestions
from services.sessions.api.positions import PositionReader
from services.sessions.api.presence_questions import PresenceQuestions
from services.sessions.api.questions import Question, SessionQuestions
from services.sessions.api.reader_postgres import STATEMENT_S, ReadPool, SessionsReader
from services.sessions.api.session_counts import SessionCounts
from services.sessions.api.session_export import SessionsExport
from services.sessions.queries.channels_postgres import Channels
from services.sessions.queries.drops_postgres import DropCounts
from services.sessions.queries.edges_postgres import Edges
from services.sessions.queries.presence_postgres import Presence
from services.sessions.queries.present_counts_postgres import PresenceCounts
from services.sessions.queries.refusals_postgres import RefusalCounts
from services.sessions.queries.subscribed_channels_postgres import SubscribedChannels
from services.sessions.queries.timeline_postgres import Timelines
from services.sessions.queries.user_story_postgres import UserStories
from services.sessions.queries.users_postgres import Users
from services.sessions.queries.versions_postgres import VersionQueries
from services.sessions.store import Position
from services.sessions.store_postgres import PostgresStore
from tests.sessions.running import API_KEY
from tests.support.plain_http import http_client
from tests.support.servers import Postgres

RESUME_WINDOW_MS = 100 * 365 * 86_400_000
"""Who is away in a story of the year 1970 still is."""

KEYS = [ApiKey(name="shop", key="publishes", scope="publish"), ApiKey(name="support", key="reads", scope="read")]


def all_questions(pool: ReadPool) -> list[Question]:
    """Those of the service."""
    readers = (
        Timelines(pool),
        Users(pool),
        Channels(pool),
        SubscribedChannels(pool),
        DropCounts(pool),
        RefusalCounts(pool),
        Edges(pool),
        VersionQueries(pool),
    )
    sessions = SessionQuestions(SessionsReader(pool), SessionCounts(pool))
    presence = PresenceQuestions(Presence(pool), PresenceCounts(pool), UserStories(pool))
    return [*sessions.questions(), *presence.questions(), *ModelQuestions(*readers).questions()]


def application(pool: ReadPool, hub: Hub | None = None, keep_s: float = 0) -> Starlette:
    """The read API alone."""
    keys = ApiKeys(HttpApiSettings(API_KEY, KEYS))
    calls = Calls(PositionReader(pool), keep_s=keep_s)
    export, live = ExportApi(keys, calls, SessionsExport(pool)), LiveApi(keys, hub or Hub())
    others = ((EXPORT, export.export), (LIVE, live.live))
    routes = SessionsApi(keys, calls, all_questions(pool), others).routes()
    return make_application(routes, exception_handlers={HTTPException: on_http_error})


@asynccontextmanager
async def asking(url: str, statement_s: float = STATEMENT_S, keep_s: float = 0) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API over the database at `url`, which is prepared."""
    async with ReadPool(url, 4, statement_s) as pool:
        transport = httpx.ASGITransport(application(pool, keep_s=keep_s))
        async with http_client(transport=transport, base_url="http://api", headers={"X-API-Key": API_KEY}) as http:
            yield http


class Log:
    """Writes facts into the rows, as the service does: each batch is a message of the log."""

    def __init__(self, pool: Pool, window_ms: int = RESUME_WINDOW_MS) -> None:
        self._store = PostgresStore(pool, window_ms)
        self._number = 0

    async def write(self, *events: Any, edge: str = "edge-1") -> Position:
        """The position after these facts."""
        self._number += 1
        before, after = await self._store.position(), Position("e", self._number)
        batch = EventBatch(edge=edge, instance=f"i-{edge}", number=self._number, events=list(events))
        await self._store.commit(before, after, [batch])
        return after


@asynccontextmanager
async def reading(postgres: Postgres, *events: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The API over a database with these facts."""
    async with Pool(postgres.url, 4) as pool:
        await Log(pool).write(*events)
        async with asking(postgres.url) as http:
            yield http
