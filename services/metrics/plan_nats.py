"""Capacity and forecast over NATS: a request with any data gets the same JSON as over HTTP, in the requester's
inbox."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from proto import subjects
from services.chassis.nats.errors import NatsAway, NatsRefused
from services.chassis.nats.link import NatsLink
from services.metrics.plan_api import PlanApi


class PlanResponder:
    """Answers on `link`, together with the other instances: one of them gets each request."""

    def __init__(self, link: NatsLink, api: PlanApi) -> None:
        self._link = link
        self._api = api

    def listen(self) -> None:
        """Answers from now on."""
        self._answer(subjects.PLAN_CAPACITY, self._api.capacity)
        self._answer(subjects.PLAN_FORECAST, self._api.forecast)

    def _answer(self, subject: str, make: Callable[[], bytes]) -> None:
        def handle(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
            to = reply.decode(errors="replace")
            if not to or not subjects.may_be_answered(to):
                return
            with contextlib.suppress(NatsAway, NatsRefused):  # the requester will ask again
                self._link.publish(to, make())

        self._link.subscribe(subject, handle, subjects.PLAN_QUEUE)
