"""`GET /sessions/live`: changes of sessions as they are committed, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from services.chassis.http.api_key import ApiKeys
from services.chassis.http.openapi import SCHEMA_REF
from services.chassis.http.unread import dropping_who_does_not_read
from services.sessions.api.calls import failure
from services.sessions.api.calls_http import given, refused, response
from services.sessions.api.live import Follower, Hub, LiveFilter, written
from services.sessions.api.live_views import EVENTS
from services.sessions.api.openapi import Other
from services.sessions.api.parameters import EDGE, USER, BadParameter, Parameter, read_all, stored_text
from services.sessions.api.positions import position_of

MAX_FOLLOWERS: Final = 200
UNREAD_S: Final = 30.0
"""For how long a follower may read nothing of what is sent."""
KEEP_ALIVE_S: Final = 15.0
"""A follower without events for this long is sent a comment, so that proxies do not take the connection for dead."""

ON_EDGE: Final = EDGE._replace(
    description="Only sessions on the edge of this name. One that moves away comes once more, with its new edge."
)
CHANNEL: Final = Parameter(
    "channel",
    "Only what happened in this channel: sessions that are subscribed now, or are no longer (`unsubscribed`, `away`, "
    "`ended`).",
    {"type": "string"},
    stored_text,
)
LAST_EVENT_ID: Final = Parameter(
    "last_event_id",
    "The position of the last event that was received, `epoch:sequence`; also taken as the header Last-Event-ID. The "
    "changes since come first, or an event `reset` if they are no longer known.",
    {"type": "string"},
    position_of,
)
DESCRIPTION: Final = Other(
    "/sessions/live",
    "follow_sessions",
    "Follow changes of sessions, as server-sent events",
    (USER, ON_EDGE, CHANNEL, LAST_EVENT_ID),
    {
        "text/event-stream": {
            "schema": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"oneOf": [{"$ref": SCHEMA_REF.format(name=shape.__name__)} for shape in EVENTS]},
                "description": "The data of each event: `Said` of `reset`, `slow`, `refused` and `stopping`.",
            }
        }
    },
    EVENTS,
)


class LiveApi:
    """The stream, for callers with one of the `keys` that may read."""

    def __init__(self, keys: ApiKeys, hub: Hub, unread_s: float = UNREAD_S) -> None:
        """Drops clients that read nothing for `unread_s` seconds."""
        self._keys = keys
        self._hub = hub
        self._unread_s = unread_s

    async def live(self, request: Request) -> Response:
        """The stream, or why there is none."""
        refusal = refused(self._keys, request)
        if refusal is not None:
            return refusal
        try:
            values = read_all([*given(request), *_last_seen(request)], DESCRIPTION.parameters)
        except BadParameter as error:
            return response(failure(400, f"{error.parameter}: {error}", error.parameter))
        if len(self._hub) >= MAX_FOLLOWERS:
            return response(failure(429, f"{MAX_FOLLOWERS} clients follow this instance already, and it takes no more"))
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        if request.method == "HEAD":
            return Response(headers=headers, media_type="text/event-stream")
        followed = LiveFilter(values.get("user"), values.get("edge"), values.get("channel"))
        waiting = asyncio.Event()
        follower = self._hub.follow(followed, values.get("last_event_id"), waiting.set)
        pieces = events(follower, waiting, lambda: refused(self._keys, request) is None)
        return _Stream(pieces, headers, self._unread_s, lambda: self._hub.leave(follower))


def _last_seen(request: Request) -> list[tuple[str, str]]:
    last = request.headers.get("last-event-id")
    return [("last_event_id", last)] if last and "last_event_id" not in request.query_params else []


class _Stream(StreamingResponse):
    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        headers: dict[str, str],
        unread_s: float,
        over: Callable[[], None],
    ) -> None:
        super().__init__(pieces, media_type="text/event-stream", headers=headers)
        self._pieces = pieces
        self._unread_s = unread_s
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, dropping_who_does_not_read(scope, send, self._unread_s))
        finally:
            self._over()
            await self._pieces.aclose()


async def events(
    follower: Follower, waiting: asyncio.Event, may_follow: Callable[[], bool] = lambda: True
) -> AsyncGenerator[bytes, None]:
    """What a follower is sent, until its stream ends, such as when its API key is revoked."""
    yield b"retry: 2000\n: connected\n\n"
    while True:
        waiting.clear()
        if not may_follow():
            follower.refuse()
        closed = follower.closed
        taken = follower.take()
        if taken:
            yield b"".join(map(written, taken))
        if closed:
            return
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                await waiting.wait()
        except TimeoutError:
            # An id without data moves the client's Last-Event-ID without an event.
            yield f": keep-alive\n{f'id: {follower.position}' if follower.position else ''}\n\n".encode()
