"""A running stack under Prometheus, on which causes of alerts are made and undone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import psutil

from tests.stack.checkout import Checkout
from tests.stack.fairlead import Fairlead
from tests.stack.prometheus import Prometheus


@dataclass(frozen=True)
class Stage:
    """The stack of a checkout of its own. Processes are named as supervisord names them."""

    checkout: Checkout
    prometheus: Prometheus

    @property
    def fairlead(self) -> Fairlead:
        return self.checkout.fairlead()

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self.checkout.ports['NATS_PORT']}"

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {one["metric"]["alertname"] for one in self.prometheus.query('ALERTS{alertstate="firing"}')}

    def freeze(self, name: str) -> None:
        """The process and its children do nothing any more, and keep their sockets."""
        for process in self._family(name):
            process.suspend()

    def thaw(self, name: str) -> None:
        """They go on."""
        for process in self._family(name):
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


async def babble(stage: Stage) -> None:
    """Clients that stay and publish, clients that come and go, backends that publish and ask for a backend that is not
    there: until cancelled. What fails is tried again.
    """
    await asyncio.gather(_stay(stage.fairlead), _stay(stage.fairlead), _come_and_go(stage.fairlead))


async def _stay(fairlead: Fairlead) -> None:
    async with fairlead.client("alice") as alice:
        await alice.join("chat:lobby")
        while True:
            with contextlib.suppress(Exception):
                await alice.publish("hello")
            await asyncio.sleep(0.2)


async def _come_and_go(fairlead: Fairlead) -> None:
    url = f"http://127.0.0.1:{fairlead.port}/api"
    async with httpx.AsyncClient(trust_env=False, timeout=10, headers={"X-API-Key": fairlead.api_key}) as http:
        while True:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(10), fairlead.client("bob") as bob:
                    await bob.join("chat:lobby")
                    await http.post(f"{url}/publish", json={"channel": "chat:lobby", "data": "hello"})
                    await http.post(f"{url}/rpc", json={"method": "nobody", "data": {}})
            await asyncio.sleep(0.5)
