"""What a process says about itself over HTTP: is it alive, may it be sent work, what do its counters say.

Liveness is "the event loop answers"; readiness is the service's own word. They differ on purpose: an edge that lost
NATS or that drains is alive and must not be restarted, but must not be sent new clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

READY_PATH: Final = "/readyz"

Unready = Callable[[], str | None]
"""None when the process may be sent work; otherwise why not, in a few words for the operator."""


def health_routes(unready: Unready, registry: CollectorRegistry) -> list[Route]:
    """`GET /livez` (200 while the loop runs), `GET /readyz` (200 or 503 with the reason), `GET /metrics`."""

    async def livez(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(request: Request) -> Response:
        reason = unready()
        if reason is None:
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"not ready: {reason}\n", status_code=503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/livez", livez), Route(READY_PATH, readyz), Route("/metrics", metrics)]
