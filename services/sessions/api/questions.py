"""What can be asked, whichever way: each question's parameters, its answer, and who finds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from services.sessions.api.filters import FILTERS, filters_of, narrower
from services.sessions.api.parameters import (
    CURSOR,
    DEFAULT_LIMIT,
    ID,
    LIMIT,
    USER_IN_PATH,
    Parameter,
    Place,
    Values,
    cursor_of,
)
from services.sessions.api.reader_postgres import SessionsReader
from services.sessions.api.views import SessionDetail, SessionsPage


class Question(NamedTuple):
    """`name` is what OpenAPI and NATS call it, `path` where HTTP has it, `view` the shape of the answer.

    `answer` returns None if there is no such thing, which `missing` says with the parameters in it. `narrower` says
    what to change when it takes too long.
    """

    name: str
    path: str
    summary: str
    parameters: tuple[Parameter, ...]
    view: type[Struct]
    answer: Callable[[Values], Awaitable[Struct | None]]
    missing: str = ""
    narrower: Callable[[Values], str] = lambda values: "shorten the period between `from` and `to`"


def _narrower(values: Values) -> str:
    return narrower(filters_of(values))


PAGED: Final = (LIMIT, CURSOR)


class SessionQuestions:
    """Those about sessions."""

    def __init__(self, reader: SessionsReader) -> None:
        self._reader = reader

    def questions(self) -> Sequence[Question]:
        """All of them."""
        of_user = tuple(each for each in FILTERS if each.name != "user")
        return (
            Question(
                "sessions",
                "/sessions",
                "List sessions",
                (*FILTERS, *PAGED),
                SessionsPage,
                self._page,
                narrower=_narrower,
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
                (USER_IN_PATH, *of_user, *PAGED),
                SessionsPage,
                self._page,
                narrower=_narrower,
            ),
        )

    async def _page(self, values: Values) -> SessionsPage:
        limit: int = values.get("limit", DEFAULT_LIMIT)
        rows = await self._reader.sessions(filters_of(values), limit + 1, values.get("cursor"))
        return SessionsPage(
            sessions=rows[:limit], next=next_page(rows, limit, lambda row: Place(row.opened_at, row.id))
        )

    async def _session(self, values: Values) -> SessionDetail | None:
        return await self._reader.session(values["id"])


def next_page(rows: Sequence[Any], limit: int, place_of: Callable[[Any], Place]) -> str | None:
    """The cursor of the page after the first `limit` of `rows`; None if there are no more."""
    return cursor_of(place_of(rows[limit - 1])) if len(rows) > limit else None
