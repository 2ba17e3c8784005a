from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.edges import Encoding, start_edge, start_pair
from tests.support.nats_cluster import NatsCluster
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import Backend, NatsServer, run_apart
from tests.support.stock_clients import KINDS, OTHER_KIND, Make, StockClients

Pair = tuple[ServiceProcess, ServiceProcess]


@pytest.fixture
def nats_cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three servers that run, which the test may kill."""
    cluster = NatsCluster(tmp_path / "nats")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
async def edge(services: Services, nats_server: NatsServer) -> ServiceProcess:
    """One edge on a NATS of its own, which the test may break."""
    return await start_edge(services, nats_server, "edge-a").ready()


@pytest.fixture
async def pair(services: Services, nats_server: NatsServer) -> Pair:
    """Two edges of one cluster, which the test may break."""
    return await start_pair(services, nats_server)


@pytest.fixture(scope="module")
def shared_nats(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """The NATS server of `shared_pair`."""
    nats = backend.nats(tmp_path_factory.mktemp("shared_nats"))
    try:
        nats.start()
        yield nats
    finally:
        nats.close()


@pytest.fixture(scope="module")
def shared_settings() -> dict[str, str]:
    """FAIRLEAD_* settings of the edges of `shared_pair`; a module with other wishes has a fixture of this name."""
    return {}


@pytest.fixture(scope="module")
def shared_pair(
    shared_nats: NatsServer, shared_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Two edges for all tests of a module, which leave them as they are and use channels of their own (see `x`)."""
    services = Services(tmp_path_factory.mktemp("shared"))
    try:
        made: list[ServiceProcess] = []

        async def start() -> None:
            made.extend(await start_pair(services, shared_nats, **shared_settings))

        run_apart(start())
        yield made[0], made[1]
        assert not services.tracebacks(), services.report()
    finally:
        sys.stdout.write(services.report())
        services.close()


@pytest.fixture(params=["json", "protobuf"])
def encoding(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test once in each encoding."""
    Encoding.current = request.param
    yield request.param
    Encoding.current = "json"


@pytest.fixture
def shared_edge(shared_pair: Pair) -> ServiceProcess:
    return shared_pair[0]


@pytest.fixture
def x() -> str:
    """The rest of a channel name that no other test uses."""
    return uuid.uuid4().hex[:8]


@pytest.fixture
async def stock() -> AsyncIterator[StockClients]:
    """Makes stock clients; they are closed at the end."""
    async with StockClients() as made:
        yield made


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Runs a test once with each SDK in each encoding."""
    return str(request.param)


@pytest.fixture
def client(kind: str, stock: StockClients) -> Make:
    """Makes clients of the kind that is tested."""
    return stock.of(kind)


@pytest.fixture
def other(kind: str, stock: StockClients) -> Make:
    """Makes clients of the other SDK in the other encoding."""
    return stock.of(OTHER_KIND[kind])
