"""`make up OBSERVE=1`: a real Prometheus reads every process, and its alerts reach a real Alertmanager."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest

from deploy.local import secrets_file
from deploy.observe.dashboards import BOARDS
from deploy.processes import postgres
from services.metrics.schema_postgres import SCHEMA
from tests.alerts.causes.capacity import write_weeks
from tests.deploy.observe.promql import selectors
from tests.deploy.observe.rules import rules
from tests.stack.checkout import Checkout
from tests.stack.observed_load import SETTINGS, talk
from tests.stack.prometheus import Prometheus
from tests.support.eventually import eventually, wait_until

pytestmark = [pytest.mark.observe, pytest.mark.stack, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("stack") / "observed", edges=2)
    done = made.make("up", OBSERVE="1", **SETTINGS)
    assert done.returncode == 0, done.stdout + done.stderr
    for variable in ("PROMETHEUS_PORT", "ALERTMANAGER_PORT"):
        assert f"http://127.0.0.1:{made.ports[variable]}" in done.stdout
    _remember_four_weeks(made)
    yield made
    done = made.make("down")
    assert "killed" not in done.stdout
    assert made.running() == []


@pytest.fixture(scope="module")
def prometheus(checkout: Checkout) -> Prometheus:
    return Prometheus(checkout.ports["PROMETHEUS_PORT"], checkout.ports["ALERTMANAGER_PORT"])


def test_every_process_is_read_under_its_name(prometheus: Prometheus) -> None:
    names = ("edge-1", "edge-2", "sessions", "metrics", "traefik")
    wait_until(lambda: prometheus.up() == dict.fromkeys(names, 1.0), "every process is read", within_s=30)


def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    wait_until(
        lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()), "all were evaluated", within_s=30
    )
    assert {rule["name"]: rule.get("lastError") for rule in prometheus.rules() if rule["health"] != "ok"} == {}


QUIET = {
    "traefik_tls_certs_not_after",  # no certificate is served here
    "fairlead_edge_jwks_fetches_total",  # there is no endpoint for keys
    "fairlead_webhooks_events_total",  # nor is there a webhook
    "fairlead_webhooks_requests_total",
    "fairlead_webhooks_dead_letters_total",
    "fairlead_webhooks_overtaken_total",
    "fairlead_webhooks_age_seconds",
}
"""Series of something that this stack does not have."""


def _remember_four_weeks(checkout: Checkout) -> None:
    """A forecast takes weeks of history. The metrics service is started again by supervisord, and makes one at once."""
    password = secrets_file.read(checkout.folders.secrets)[secrets_file.POSTGRES_PASSWORD]
    url = f"postgresql://{postgres.USER}:{password}@127.0.0.1:{checkout.ports['POSTGRES_PORT']}/{postgres.DATABASE}"
    asyncio.run(eventually(lambda: SCHEMA.check(url), within_s=30))
    asyncio.run(write_weeks(url, weeks=4))
    checkout.process("metrics").kill()


@pytest.fixture(scope="module")
def forecast(prometheus: Prometheus) -> None:
    """Made before there is load, as its process has a low priority and would get too little of a core."""
    asyncio.run(eventually(lambda: prometheus.query("fairlead_cluster_forecast_error_ratio"), within_s=150))


@pytest.fixture
async def load(checkout: Checkout, forecast: None) -> AsyncIterator[None]:
    """Clients and backends that do everything that a picture shows."""
    task = asyncio.create_task(talk(checkout))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_every_picture_of_the_dashboards_has_data_under_load(load: None, prometheus: Prometheus) -> None:
    queries = {
        (board.name, panel.title, legend): query.replace("$w", "1m").replace("$edge", ".*")
        for board in BOARDS
        for panel in board.panels
        for legend, query in panel.queries.items()
    }
    loud = {name: query for name, query in queries.items() if not QUIET & {one for one, _ in selectors(query)}}

    def all_have_data() -> None:
        assert [name for name, query in loud.items() if not prometheus.query(query)] == []
        for query in queries.values():
            prometheus.query(query)
        memory = 'fairlead_cluster_capacity_edge_used_ratio{resource="memory"}'
        assert len(prometheus.query(memory)) == 2, "each edge says how much memory it may use"

    await _each_has_had_data(prometheus, loud.values())
    await eventually(lambda: asyncio.to_thread(all_have_data), within_s=30)


async def _each_has_had_data(prometheus: Prometheus, queries: Iterable[str]) -> None:
    """Repeats only the queries without data: hundreds of queries take seconds."""
    waiting = list(queries)

    def ask() -> None:
        waiting[:] = [query for query in waiting if not prometheus.query(query)]
        assert waiting == []

    await eventually(lambda: asyncio.to_thread(ask), within_s=150)


async def test_every_rule_reads_series_that_are_there_and_no_level_fails(load: None, prometheus: Prometheus) -> None:
    names = {name for rule in rules() for name, _ in selectors(rule.expr)} - QUIET
    await _each_has_had_data(prometheus, [f'count({{__name__="{name}"}})' for name in sorted(names)])
    assert prometheus.query("fairlead:bad:ratio5m > fairlead:budget:ratio") == []


def test_an_edge_that_hangs_is_an_alert_at_alertmanager_until_it_goes_on(
    checkout: Checkout, prometheus: Prometheus
) -> None:
    hung = checkout.process("edge-2")
    hung.suspend()
    try:
        wait_until(lambda: ("EdgeDown", "edge-2") in prometheus.sent(), "the alert is sent", within_s=90)
    finally:
        hung.resume()
    wait_until(lambda: ("EdgeDown", "edge-2") not in prometheus.sent(), "the alert is over", within_s=90)
