"""`GET /capacity` and `GET /forecast`, as JSON."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.metrics.answers import capacity_answer, forecast_answer
from services.metrics.planner import Planner


class PlanApi:
    """Answers for `planner`; `now` returns Unix time in seconds. Requests over NATS get the same bytes."""

    def __init__(self, planner: Planner, now: Callable[[], float]) -> None:
        self._planner = planner
        self._now = now

    def routes(self) -> list[Route]:
        """The HTTP routes."""
        return [Route("/capacity", self._on_capacity), Route("/forecast", self._on_forecast)]

    def capacity(self) -> bytes:
        """`answers.CapacityAnswer` as JSON."""
        return msgspec.json.encode(capacity_answer(self._planner))

    def forecast(self) -> bytes:
        """`answers.ForecastAnswer` as JSON."""
        return msgspec.json.encode(forecast_answer(self._planner, self._now()))

    async def _on_capacity(self, request: Request) -> Response:
        return Response(self.capacity(), media_type="application/json")

    async def _on_forecast(self, request: Request) -> Response:
        return Response(self.forecast(), media_type="application/json")
