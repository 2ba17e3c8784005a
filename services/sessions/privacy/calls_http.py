"""`POST /privacy/export`, `POST /privacy/erase` and `GET /privacy/erasures/{id}`, for API keys of the scope "privacy".

The user id is in the body, as URLs get into the logs of proxies. Our own log has the beginning of its digest.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis.http.api_key import ApiKeys, Refusal, reaches
from services.chassis.http.written import WrittenWhileRead
from services.chassis.nats.link import NatsAway, NatsRefused
from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.chassis.process.api_keys import PRIVACY, ApiKey
from services.chassis.process.log_fields import about
from services.sessions.privacy.bodies import BadBody, EraseCall, ExportCall, read_call
from services.sessions.privacy.export import Export
from services.sessions.privacy.jobs import Job, Jobs, Open, TooMany
from services.sessions.privacy.person import NobodyMeant, Person
from services.sessions.privacy.progress import unwatched

log = logging.getLogger(__name__)

MAX_BODY: Final = 64 * 1024
MAX_EXPORTS: Final = 2
"""Exports at a time. Each has a connection to NATS, and up to three to PostgreSQL, where one keeps old row versions
from being removed."""
MAX_EXPORT_S: Final = 3600.0
"""An export reads everything once. If it takes longer, use the command."""
UNREAD_S: Final = 60.0
"""For how long a client may read nothing of an export."""
_AWAY: Final = (StoreAway, SchemaRefused, NatsAway, NatsRefused)


class Problem(msgspec.Struct):
    """What is wrong with a call."""

    code: int
    message: str


class Failure(msgspec.Struct):
    """The body of an error, as in the rest of the API."""

    error: Problem


class PrivacyApi:
    """The routes, for callers with one of the `keys` that may do this."""

    def __init__(self, keys: ApiKeys, open_stores: Open) -> None:
        self._keys = keys
        self._open = open_stores
        self._jobs = Jobs(open_stores)
        self._exports = 0

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/privacy/export", self._guarded(self._export), methods=["POST"]),
            Route("/privacy/erase", self._guarded(self._erase), methods=["POST"]),
            Route("/privacy/erasures/{id}", self._guarded(self._erasure)),
        ]

    async def stop(self) -> None:
        """Ends the erasures that run."""
        await self._jobs.stop()

    def _guarded(
        self, answer: Callable[[Request, ApiKey], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            key = self._keys.of(request)
            refusal = key if isinstance(key, Refusal) else reaches(key, PRIVACY, "exporting and erasing users")
            if refusal is not None:
                return _failure(refusal.status, refusal.why)
            assert not isinstance(key, Refusal)
            try:
                return await answer(request, key)
            except (BadBody, NobodyMeant) as error:
                return _failure(400, f"body: {error}")
            except TooMany as error:
                return _failure(429, f"{error}; try again")

        return endpoint

    async def _export(self, request: Request, key: ApiKey) -> Response:
        person = Person(read_call(await _body(request), ExportCall).user)
        if self._exports >= MAX_EXPORTS:
            raise TooMany(f"{MAX_EXPORTS} exports are running, the most at a time")
        log.info("exporting the user of digest %s", person.digest[:12], extra=about(key=key.name))
        media_type, headers = "application/x-ndjson", {"cache-control": "no-store"}
        return WrittenWhileRead(self._lines(person), media_type, headers, self._count, MAX_EXPORT_S, UNREAD_S)

    def _count(self, difference: int) -> None:
        self._exports += difference

    async def _lines(self, person: Person) -> AsyncGenerator[bytes, None]:
        try:
            async with (
                self._open() as stores,
                aclosing(Export(stores.link, stores.pool, person, unwatched).lines()) as lines,
            ):
                async for line in lines:
                    yield line
        except _AWAY as error:  # the status has been sent: the line "end" is missing instead
            yield msgspec.json.encode({"store": "error", "message": str(error)}) + b"\n"

    async def _erase(self, request: Request, key: ApiKey) -> Response:
        call = read_call(await _body(request), EraseCall)
        person = Person(call.user)
        job = self._jobs.start(person, call.dry_run, call.disconnect)
        what = "counting what is stored about" if job.dry_run else "erasing"
        log.info("%s the user of digest %s: job %s", what, person.digest[:12], job.id, extra=about(key=key.name))
        return _job(202, job)

    async def _erasure(self, request: Request, key: ApiKey) -> Response:
        job = self._jobs.get(request.path_params["id"])
        if job is None:
            return _failure(404, "this process knows no such erasure; to continue one, request it again")
        return _job(200, job)


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise BadBody(f"expected at most {MAX_BODY} bytes")
    return body


def _job(status: int, job: Job) -> Response:
    where = {"location": f"/privacy/erasures/{job.id}"}
    return Response(msgspec.json.encode(job), status, where, media_type="application/json")


def _failure(status: int, message: str) -> Response:
    more = {"retry-after": "1"} if status == 429 else None
    return Response(msgspec.json.encode(Failure(Problem(status, message))), status, more, media_type="application/json")
