"""What a process reports about itself over HTTP: whether it is alive, whether it is ready for work, and its metrics.

A process is alive while its event loop runs; the service itself decides whether it is ready. The two differ on purpose:
an edge that has lost NATS, or that drains, is alive and must not be restarted, but must not receive new clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

LIVE_PATH: Final = "/livez"
READY_PATH: Final = "/readyz"
METRICS_PATH: Final = "/metrics"

Unready = Callable[[], str | None]
"""Returns why the process is not ready for work, in a few words for the operator; None if it is ready."""


def health_routes(
    unready: Unready, registry: CollectorRegistry, remark: Callable[[], str | None] = lambda: None
) -> list[Route]:
    """`GET /livez` (200 while the loop runs), `GET /readyz` (200 or 503 with the reason), `GET /metrics`.

    `remark` returns what a process cannot do although it is ready; None if it can do everything.
    """

    async def livez(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(request: Request) -> Response:
        reason = unready()
        if reason is None:
            lack = remark()
            return PlainTextResponse("ready\n" if lack is None else f"ready, except for {lack}\n")
        return PlainTextResponse(f"not ready: {reason}\n", status_code=503)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))  # exemplars need OpenMetrics
        return Response(encode(registry), media_type=content_type)

    return [Route(LIVE_PATH, livez), Route(READY_PATH, readyz), Route(METRICS_PATH, metrics)]
