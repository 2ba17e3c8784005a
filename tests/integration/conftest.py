from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator

import pytest

from tests.support.edges import start_edge, start_pair
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import Backend, NatsServer, run_apart

Pair = tuple[ServiceProcess, ServiceProcess]


@pytest.fixture
async def edge(services: Services, nats_server: NatsServer) -> ServiceProcess:
    """One edge on a NATS of its own, which the test may break."""
    return await start_edge(services, nats_server, "edge-a").ready()


@pytest.fixture
async def pair(services: Services, nats_server: NatsServer) -> Pair:
    """Two edges of one cluster, which the test may break."""
    return await start_pair(services, nats_server)


@pytest.fixture(scope="module")
def shared_pair(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two edges for all tests of a module, which leave them as they are and use channels of their own (see `x`)."""
    folder = tmp_path_factory.mktemp("shared")
    nats, services = backend.nats(folder / "nats"), Services(folder / "services")
    try:
        nats.start()
        made: list[ServiceProcess] = []

        async def start() -> None:
            made.extend(await start_pair(services, nats))

        run_apart(start())
        yield made[0], made[1]
        assert not services.tracebacks(), services.report()
    finally:
        sys.stdout.write(services.report())
        services.close()
        nats.close()


@pytest.fixture
def shared_edge(shared_pair: Pair) -> ServiceProcess:
    return shared_pair[0]


@pytest.fixture
def x() -> str:
    """The rest of a channel name that no other test uses."""
    return uuid.uuid4().hex[:8]
