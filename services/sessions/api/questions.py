"""The questions of the read API, over HTTP and NATS: the parameters of each, its answer, and what finds it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from msgspec import Struct

from services.sessions.api.counts import GROUP, INTERVAL, CountsView, TooLong, TooManyCounts
from services.sessions.api.filters import FILTERS, filters_of, narrower
from services.sessions.api.paging import Paged
from services.sessions.api.parameters import (
    DEFAULT_LIMIT,
    ID,
    LIMIT,
    USER_IN_PATH,
    BadParameter,
    Parameter,
    Values,
)
from services.sessions.api.reader_postgres import SessionsReader
from services.sessions.api.session_counts import SessionCounts
from services.sessions.api.views import SessionDetail, SessionsPage
from services.sessions.queries.periods import Period
from services.sessions.queries.places import Place


def _shorter(values: Values) -> str:
    return "shorten the period between `from` and `to`" if "from" in values else "try again"


class Question(NamedTuple):
    """`name` is its name in OpenAPI and over NATS, `path` its path over HTTP, `view` the shape of the answer.

    `answer` returns None if what is asked for does not exist; `missing` is then the message, with places for
    parameters. `narrower` says what to change when the question takes too long. With `period` it is about a period, by
    default the latest one of this length; with `of_a_moment` about `at`, by default the present.
    """

    name: str
    path: str
    summary: str
    parameters: tuple[Parameter, ...]
    view: type[Struct]
    answer: Callable[[Values], Awaitable[Struct | None]]
    missing: str = ""
    narrower: Callable[[Values], str] = _shorter
    period: timedelta | None = None
    of_a_moment: bool = False

    @property
    def described_path(self) -> str:
        """Its path as OpenAPI writes it."""
        return re.sub(r":\w+}", "}", self.path)


def _narrower(values: Values) -> str:
    return narrower(filters_of(values))


SESSIONS: Final = Paged("sessions", Place, FILTERS)
USER_SESSIONS: Final = Paged("user_sessions", Place, FILTERS)


class SessionQuestions:
    """The questions about sessions."""

    def __init__(self, reader: SessionsReader, counts: SessionCounts) -> None:
        self._reader = reader
        self._counts = counts

    def questions(self) -> Sequence[Question]:
        """All of them."""
        of_user = tuple(each for each in FILTERS if each.name != "user")
        return (
            Question(
                "sessions",
                "/sessions",
                "List sessions",
                (*FILTERS, LIMIT, SESSIONS.cursor),
                SessionsPage,
                self._sessions,
                narrower=_narrower,
            ),
            Question(
                "session_counts",
                "/sessions/counts",
                "Count sessions, by interval and by any property that filters use",
                (GROUP, INTERVAL, *FILTERS),
                CountsView,
                self._counted,
                narrower=_narrower,
                period=timedelta(days=1),
            ),
            Question(
                "session",
                "/sessions/{id}",
                "Get a session, by its id or that of one of its connections",
                (ID,),
                SessionDetail,
                self._session,
                "there is no session {id!r}",
            ),
            Question(
                "user_sessions",
                "/users/{user:text}/sessions",
                "List the sessions of a user",
                (USER_IN_PATH, *of_user, LIMIT, USER_SESSIONS.cursor),
                SessionsPage,
                self._of_user,
                narrower=_narrower,
            ),
        )

    async def _sessions(self, values: Values) -> SessionsPage:
        return await self._page(SESSIONS, values)

    async def _of_user(self, values: Values) -> SessionsPage:
        return await self._page(USER_SESSIONS, values)

    async def _page(self, pages: Paged[Place], values: Values) -> SessionsPage:
        limit: int = values.get("limit", DEFAULT_LIMIT)
        rows = await self._reader.sessions(filters_of(values), limit + 1, pages.after(values))
        following = pages.next_page(values, rows, limit, lambda row: Place(row.opened_at, row.id))
        return SessionsPage(sessions=rows[:limit], next=following)

    async def _counted(self, values: Values) -> CountsView:
        period = Period(values["from"], values["to"])
        try:
            return await self._counts.ask(filters_of(values), values.get("group", ()), values.get("interval"), period)
        except TooLong as error:
            raise BadParameter("from", str(error)) from None
        except TooManyCounts as error:
            given = INTERVAL.name if INTERVAL.name in values else GROUP.name
            raise BadParameter(given, str(error)) from None

    async def _session(self, values: Values) -> SessionDetail | None:
        return await self._reader.session(values["id"])
