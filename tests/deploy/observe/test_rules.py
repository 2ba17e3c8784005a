"""Prometheus takes the configuration, and every alert fires for its cause and falls silent after."""

from __future__ import annotations

import pytest

from tests.deploy.observe.rules import OBSERVE, TESTS, observer, promtool, read, rules

pytestmark = [pytest.mark.observe, pytest.mark.timeout(180)]


def test_prometheus_takes_its_configuration_with_all_rules() -> None:
    printed = promtool("check", "config", str(OBSERVE / "prometheus.yml"))
    found = sum(len(group["rules"]) for path in (OBSERVE / "rules").glob("*.yml") for group in read(path)["groups"])
    assert found == len(rules()) > 0
    assert "SUCCESS" in printed


def test_alertmanager_takes_its_configuration() -> None:
    assert "SUCCESS" in observer("amtool", "check-config", str(OBSERVE / "alertmanager.yml"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_for_its_cause_and_falls_silent_after(path) -> None:
    promtool("test", "rules", str(path))
