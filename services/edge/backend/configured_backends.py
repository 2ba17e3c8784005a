"""Makes the backends that the settings name, each of them measured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from services.chassis.process.launch import let_in
from services.edge.backend.backend import Backend
from services.edge.backend.backends import Backends
from services.edge.backend.measured_backend import MeasuredBackend
from services.edge.hook_settings import NATS
from services.edge.settings import EdgeSettings
from services.edge.tally import Tally


class Configured(NamedTuple):
    """The backends, and what closes the connections to them."""

    backends: Backends
    close: Callable[[], Awaitable[None]]


def configured_backends(
    settings: EdgeSettings, own: Backend, tally: Tally, now: Callable[[], float], unix: Callable[[], float]
) -> Configured:
    """The backends by name. `own` is the one on the edge's NATS; `now` and `unix` as in `HttpBackend`."""
    by_name: dict[str, Backend] = {NATS: MeasuredBackend(own, tally)}
    closing: list[Callable[[], Awaitable[None]]] = []
    if settings.backends:
        let_in("aiohttp")
        from services.edge.backend.backend_http import HttpBackend  # 0.1 s and 8 MB of a start without any

        for each in settings.backends:
            backend = HttpBackend(each, now, unix)
            by_name[each.name] = MeasuredBackend(backend, tally, each.name)
            closing.append(backend.close)

    async def close() -> None:
        for one in closing:
            await one()

    return Configured(Backends(by_name, settings.rpc), close)
