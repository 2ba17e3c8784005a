"""A running stack under Prometheus, on which causes of alerts are made and undone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from deploy.local import secrets_file
from deploy.processes import postgres
from tests.alerts.surroundings import Surroundings
from tests.stack.checkout import Checkout
from tests.stack.fairlead import Fairlead
from tests.stack.prometheus import Prometheus


@dataclass(frozen=True)
class Stage:
    """The stack of a checkout of its own. Processes are named as supervisord names them."""

    checkout: Checkout
    prometheus: Prometheus
    surroundings: Surroundings

    @property
    def fairlead(self) -> Fairlead:
        return self.checkout.fairlead()

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self.checkout.ports['NATS_PORT']}"

    @property
    def postgres_url(self) -> str:
        password = secrets_file.read(self.checkout.folders.secrets)[secrets_file.POSTGRES_PASSWORD]
        port = self.checkout.ports["POSTGRES_PORT"]
        return f"postgresql://{postgres.USER}:{password}@127.0.0.1:{port}/{postgres.DATABASE}"

    def edge_port(self, number: int) -> int:
        """Of the edge with this number, past Traefik."""
        return self.checkout.ports["EDGE_PORT"] + number - 1

    def firing(self) -> set[str]:
        """The alerts that fire now; those about a service level as "ErrorBudgetBurns (publish)"."""
        found = [one["metric"] for one in self.prometheus.query('ALERTS{alertstate="firing"}')]
        return {one["alertname"] + (f" ({one['level']})" if "level" in one else "") for one in found}

    def freeze(self, name: str) -> None:
        """The process and its children do nothing any more, and keep their sockets."""
        for process in self._family(name):
            with contextlib.suppress(psutil.NoSuchProcess):  # children come and go
                process.suspend()

    def thaw(self, name: str) -> None:
        """They go on."""
        for process in self._family(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def thaw_all(self) -> None:
        """So that what hangs can be stopped in order, when a cause was cut off."""
        for name in self.checkout.running():
            self.thaw(name)

    async def stutter(self, name: str, hangs_s: float, goes_on_s: float) -> None:
        """The process hangs and goes on in turns, until this is cancelled."""
        process = self.checkout.process(name)
        try:
            while True:
                process.suspend()
                await asyncio.sleep(hangs_s)
                process.resume()
                await asyncio.sleep(goes_on_s)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    async def kill(self, name: str, times: int = 1) -> None:
        """Kills the process so many times; supervisord starts it again."""
        for _ in range(times):
            before = self.checkout.process(name)
            before.kill()
            while not self._is_another(name, before):
                await asyncio.sleep(0.1)
            await asyncio.sleep(12)  # so that Prometheus reads it at least once before the next time

    def limit_descriptors(self, name: str, limit: int | None) -> None:
        """Lets the process open so many; None: as many as its hard limit."""
        process = self.checkout.process(name)
        _, hard = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (hard if limit is None else limit, hard))

    def _is_another(self, name: str, before: psutil.Process) -> bool:
        with contextlib.suppress(StopIteration, psutil.Error):
            return self.checkout.process(name).pid != before.pid
        return False

    def _family(self, name: str) -> Iterator[psutil.Process]:
        process = self.checkout.process(name)
        yield process
        yield from process.children(recursive=True)
