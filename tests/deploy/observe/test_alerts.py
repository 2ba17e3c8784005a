"""Each alert says what is wrong, how bad it is and what to do, and has a test that makes it fire."""

from __future__ import annotations

import re

import pytest

from tests.deploy.observe.rules import ROOT, RULES, TESTS, Rule, alerts, read, rules_of

ALERTS = alerts()
GUIDE = (ROOT / "docs/operations.md").read_text()


def section(heading: str) -> str:
    """The text under one heading of the operations guide; "" if there is none."""
    found = re.search(rf"^### {heading}\n(.*?)(?=^##|\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def seconds(duration: str) -> int:
    return sum(int(n) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[u] for n, u in re.findall(r"(\d+)([smhd])", duration))


def test_each_name_is_used_once() -> None:
    names = [alert.name for alert in ALERTS]
    assert names and len(names) == len(set(names))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_is_wrong_with_its_value_and_how_bad_it_is(alert: Rule) -> None:
    assert alert.labels["severity"] in ("critical", "warning")
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert "$value" in alert.annotations["description"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_links_to_a_section_that_says_what_to_do(alert: Rule) -> None:
    assert alert.annotations["runbook_url"] == f"docs/operations.md#{alert.name.lower()}"
    meaning, found, to_do = section(alert.name).partition("**What to do:**")
    assert found, f'docs/operations.md needs "### {alert.name}", with "**What to do:**" in it'
    assert len(meaning.split()) > 5 and len(to_do.split()) > 5


def test_the_guide_has_no_section_about_an_alert_that_is_gone() -> None:
    part = GUIDE.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^### (\w+)$", part, re.MULTILINE)) == sorted(alert.name for alert in ALERTS)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_each_alert_has_a_test_that_makes_it_fire_and_then_fall_silent(path) -> None:
    named = {one["alert"] for group in read(path)["groups"] for one in group["rules"] if "alert" in one}
    files = [read(file) for file in TESTS if rules_of(file) == path]
    checks = [check for file in files for one in file["tests"] for check in one["alert_rule_test"]]
    for name in named:
        own = sorted(
            (seconds(str(one["eval_time"])), bool(one["exp_alerts"])) for one in checks if one["alertname"] == name
        )
        fires = [fires for _, fires in own]
        assert True in fires and not fires[-1], f"{name}: it must fire, and be silent at the end"


def test_each_file_of_tests_is_about_a_file_of_rules_and_named_like_it() -> None:
    assert {rules_of(path) for path in TESTS} == set(RULES)
    assert all(path.stem.startswith(rules_of(path).stem) for path in TESTS)
