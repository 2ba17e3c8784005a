"""Prometheus takes the configuration, and every alert fires for its cause and falls silent after."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.observe.rules import OBSERVE, RULES, TESTS, observer, promtool, read, rules, rules_of

pytestmark = [pytest.mark.observe, pytest.mark.timeout(180)]

_CLUSTER = "fairlead_cluster_"


def test_prometheus_takes_its_configuration_with_all_rules() -> None:
    printed = promtool("check", "config", str(OBSERVE / "prometheus.yml"))
    found = sum(len(group["rules"]) for path in (OBSERVE / "rules").glob("*.yml") for group in read(path)["groups"])
    assert found == len(rules()) > 0
    assert "SUCCESS" in printed


def test_prometheus_takes_each_file_of_rules() -> None:
    printed = promtool("check", "rules", *(str(path) for path in RULES))
    assert printed.count("SUCCESS") == len(RULES) > 0


def test_alertmanager_takes_its_configuration() -> None:
    assert "SUCCESS" in observer("amtool", "check-config", str(OBSERVE / "alertmanager.yml"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_for_its_cause_and_falls_silent_after(path) -> None:
    promtool("test", "rules", str(path))


def seen_by_two(path: Path) -> dict[str, Any]:
    """A file's tests about the cluster, with a second metrics service, which says the same. An alert about the service
    itself is there for both of them."""
    tests: dict[str, Any] = yaml.load(path.read_text(), yaml.BaseLoader)  # others take 0x60 for a number
    of_cluster = [one for one in tests["tests"] if any(_CLUSTER in sample["series"] for sample in one["input_series"])]
    for one in of_cluster:
        series = one["input_series"]
        one["input_series"] = series + [
            sample | {"series": sample["series"].replace('instance="metrics"', 'instance="metrics-2"')}
            for sample in series
            if 'instance="metrics"' in sample["series"]
        ]
        for check in one["alert_rule_test"]:
            for alert in [alert for alert in check["exp_alerts"] if alert["exp_labels"].get("instance") == "metrics"]:
                other = deepcopy(alert)
                other["exp_labels"]["instance"] = "metrics-2"
                for name in ("summary", "description"):
                    other["exp_annotations"][name] = re.sub(r"\bmetrics\b", "metrics-2", alert["exp_annotations"][name])
                check["exp_alerts"].append(other)
    return tests | {"rule_files": [str(rules_of(path))], "tests": of_cluster}


@pytest.mark.parametrize("path", [path for path in TESTS if _CLUSTER in path.read_text()], ids=lambda path: path.stem)
def test_what_two_metrics_services_say_of_the_cluster_is_one_alert(path: Path, tmp_path: Path) -> None:
    both = tmp_path / path.name
    both.write_text(yaml.safe_dump(seen_by_two(path)))
    promtool("test", "rules", str(both))
