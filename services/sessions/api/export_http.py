"""`GET /sessions/export`: all sessions that filters select, as a file that is written while it is read."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.chassis.http.api_key import ApiKeys
from services.chassis.http.written import WrittenWhileRead
from services.chassis.postgres.errors import StoreAway
from services.sessions.api.calls import AFTER_POSITION, Answer, Calls, failure
from services.sessions.api.calls_http import KEPT_SINCE_HEADER, POSITION_HEADER, given, refused, response
from services.sessions.api.export_formats import FORMATS, Format
from services.sessions.api.filters import FILTERS, Filters, filters_of, narrower
from services.sessions.api.openapi import Other
from services.sessions.api.parameters import BadParameter, Parameter, one_of
from services.sessions.api.positions import position_text
from services.sessions.api.reader_postgres import TooSlow
from services.sessions.api.session_export import MAX_EXPORT_S, SessionsExport

_GRACE_S: Final = 30.0
"""How long after `MAX_EXPORT_S` the last line may take to be sent."""

UNREAD_S: Final = 60.0
"""For how long a client may read nothing of a file. It holds a connection, and keeps PostgreSQL from removing old
rows."""

MAX_EXPORTS: Final = 2
"""Exports at a time; each holds a connection to PostgreSQL."""

FORMAT: Final = Parameter(
    "format",
    "The form of the file.",
    {"type": "string", "enum": list(FORMATS), "default": "csv"},
    one_of(*FORMATS),
)
DESCRIPTION: Final = Other(
    "/sessions/export",
    "export_sessions",
    "Export sessions as a file, whose last line says that it is complete, or why it is not",
    (FORMAT, *FILTERS, AFTER_POSITION),
    {"text/csv": {"schema": {"type": "string"}}, "application/x-ndjson": {"schema": {"type": "string"}}},
)


class ExportApi:
    """Exports for callers with one of the `keys` that may read."""

    def __init__(self, keys: ApiKeys, calls: Calls, export: SessionsExport) -> None:
        self._keys = keys
        self._calls = calls
        self._export = export
        self._running = 0

    async def export(self, request: Request) -> Response:
        """The file, or why there is none."""
        refusal = refused(self._keys, request)
        if refusal is not None:
            return refusal
        try:
            values = self._calls.read(given(request), DESCRIPTION.parameters)
            filters = filters_of(values)
            standing = await self._calls.standing(values)
        except BadParameter as error:
            return response(failure(400, f"{error.parameter}: {error}", error.parameter))
        except StoreAway as error:
            return response(failure(503, f"{error}; try again"))
        if isinstance(standing, Answer):
            return response(standing)
        if self._running >= MAX_EXPORTS:
            return response(failure(429, f"{MAX_EXPORTS} exports are running, the most at a time; try again"))
        form, position = values.get("format", "csv"), position_text(standing.position)
        at = datetime.now(UTC)
        headers = {
            POSITION_HEADER: position,
            "content-disposition": f'attachment; filename="sessions-{at:%Y%m%dT%H%M%SZ}.{form}"',
            "cache-control": "no-store",
            "vary": "accept-encoding",
        }
        pieces = self._written(filters, FORMATS[form], position)
        if kept_since := self._calls.kept_since:
            headers[KEPT_SINCE_HEADER] = kept_since
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            headers["content-encoding"] = "gzip"
            pieces = gzipped(pieces)
        if request.method == "HEAD":
            return Response(headers=headers, media_type=FORMATS[form].media_type)
        longest_s = MAX_EXPORT_S + _GRACE_S
        return WrittenWhileRead(pieces, FORMATS[form].media_type, headers, self._count, longest_s, UNREAD_S)

    def _count(self, difference: int) -> None:
        self._running += difference

    async def _written(self, filters: Filters, form: Format, position: str) -> AsyncGenerator[bytes, None]:
        count = 0
        try:
            yield form.head()
            async with aclosing(self._export.portions(filters)) as portions:
                async for sessions in portions:
                    count += len(sessions)
                    yield form.rows(sessions)
            yield form.end(count, position)
        except TooSlow:
            yield form.error(f"it took too long, or more than {MAX_EXPORT_S:g} s in all: {narrower(filters)}")
        except StoreAway as error:
            yield form.error(f"{error}; try again")


async def gzipped(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same, compressed."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    async with aclosing(pieces) as source:
        async for piece in source:
            if packed := packer.compress(piece):
                yield packed
    yield packer.flush()


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding takes gzip."""
    for coding in header.lower().split(","):
        name, _, quality = coding.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
