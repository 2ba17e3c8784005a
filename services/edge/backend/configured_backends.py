"""Makes the backends that the settings name, with measurements, and exchanges them at a reload."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from proto import subjects
from services.chassis.nats.link import NatsLink
from services.chassis.process.launch import let_in
from services.chassis.process.tasks import Tasks, end
from services.edge.backend.backend import Backend
from services.edge.backend.backends import Backends
from services.edge.backend.measured_backend import MeasuredBackend
from services.edge.backend.named_backend_nats import NamedNatsBackend
from services.edge.backend_settings import BackendSettings, RPCSection
from services.edge.hook_settings import COMMAND_DEADLINE_S, NATS
from services.edge.settings import EdgeSettings
from services.edge.tally import Tally

log = logging.getLogger(__name__)


class Connections(Protocol):
    """The connections to a backend."""

    async def close(self) -> None:
        """Closes the connections."""


class OtherNats:
    """The connection to the NATS of one backend. Nothing waits for it: without it, the backend is away."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._opening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connects, however long that takes."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            await self._link.open()
        except Exception:  # for an unknown reason: the link itself retries after known ones
            log.exception("the connection to the NATS of a backend failed; a restart tries again")

    async def close(self) -> None:
        """Closes the connection, or ends the attempt."""
        if self._opening is not None:
            await end((self._opening,))
            await self._link.close()


class Made(NamedTuple):
    """A backend, the table that it was made from, and the connections to close after it."""

    settings: BackendSettings
    backend: Backend
    connections: Connections | None


class Prepared(NamedTuple):
    """The backends of new settings by their names, and which of them answer RPCs."""

    made: dict[str, Made]
    rpc: RPCSection


class ConfiguredBackends:
    """The backends by name. `own` is the backend on the edge's NATS, and `link` the connection to that NATS, None if
    there is none; `now` and `unix` as in `HttpBackend`. Call `start` once the event loop runs.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        own: Backend,
        link: NatsLink | None,
        tally: Tally,
        now: Callable[[], float],
        unix: Callable[[], float],
    ) -> None:
        self._own = MeasuredBackend(own, tally)
        self._link = link
        self._tally = tally
        self._now = now
        self._unix = unix
        self._tasks = Tasks()
        self._retired: list[Made] = []
        self._made: dict[str, Made] = {}
        self._made, rpc = self.prepared(settings)
        self.backends = Backends(self._by_name(), rpc)

    def start(self) -> None:
        """Connects to the backends on another NATS."""
        for each in self._made.values():
            _start(each)

    def prepared(self, settings: EdgeSettings) -> Prepared:
        """The backends of these settings: existing ones, and new ones for tables that are new or have changed.

        Raises `BadFile` for a certificate that cannot be read any more.
        """
        made: dict[str, Made] = {}
        for each in settings.backends:
            known = self._made.get(each.name)
            made[each.name] = known if known is not None and known.settings == each else self._make(each, settings)
        return Prepared(made, settings.rpc)

    def adopt(self, prepared: Prepared) -> None:
        """Replaces the backends by these. Questions to replaced backends are still answered."""
        before, self._made = self._made, prepared.made
        self.backends.replace(self._by_name(), prepared.rpc)
        for name, each in self._made.items():
            if before.get(name) is not each:
                _start(each)
        retired = [each for name, each in before.items() if self._made.get(name) is not each]
        self._retired += retired
        self._tasks.start(self._retire(retired))

    async def close(self) -> None:
        """Closes the connections to all backends."""
        await self._tasks.stop()
        await self._close([*self._retired, *self._made.values()])

    async def _retire(self, retired: list[Made]) -> None:
        await asyncio.sleep(COMMAND_DEADLINE_S)  # no question takes longer
        await self._close(retired)

    async def _close(self, made: list[Made]) -> None:
        for each in made:
            if each in self._retired:
                self._retired.remove(each)
            if each.connections is not None:
                await each.connections.close()

    def _by_name(self) -> dict[str, Backend]:
        return {NATS: self._own} | {name: each.backend for name, each in self._made.items()}

    def _make(self, table: BackendSettings, settings: EdgeSettings) -> Made:
        if not table.on_nats:
            let_in("aiohttp")
            from services.edge.backend.backend_http import HttpBackend  # saves 0.1 s and 8 MB if there is none

            over_http = HttpBackend(table, self._now, self._unix)
            return Made(table, MeasuredBackend(over_http, self._tally, table.name), over_http)
        link, connections = self._link, None
        if table.other_nats is not None:
            called, inbox = f'the NATS of the backend "{table.name}"', subjects.inbox_prefix("edge")
            link = NatsLink(table.other_nats, settings.name, inbox_prefix=inbox, called=called, keys="backends.")
            connections = OtherNats(link)
        assert link is not None, "an edge without NATS has no backend there: see `configuration`"
        on_nats = NamedNatsBackend(link, table, self._unix)
        return Made(table, MeasuredBackend(on_nats, self._tally, table.name), connections)


def _start(made: Made) -> None:
    if isinstance(made.connections, OtherNats):
        made.connections.start()
