"""`make up OBSERVE=1`: a real Prometheus reads every process, and its alerts reach a real Alertmanager."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack.checkout import Checkout
from tests.stack.prometheus import Prometheus
from tests.support.eventually import wait_until

pytestmark = [pytest.mark.observe, pytest.mark.stack, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("stack") / "observed", edges=2)
    done = made.make("up", OBSERVE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    for variable in ("PROMETHEUS_PORT", "ALERTMANAGER_PORT"):
        assert f"http://127.0.0.1:{made.ports[variable]}" in done.stdout
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
