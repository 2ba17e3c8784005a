"""The service levels: the rules are made of them, and the page for people says the same."""

from __future__ import annotations

import re

import pytest

from deploy.observe.levels import LEVELS, RULES, WINDOWS, Level, render
from tests.deploy.observe.rules import ROOT, rules

PAGE = (ROOT / "docs/slo.md").read_text()


def test_the_rules_are_those_that_are_written() -> None:
    assert RULES.read_text() == render(), "run: python -m deploy.observe.levels"
    recorded = [(rule.name, rule.labels["level"]) for rule in rules() if not rule.is_alert]
    names = ["fairlead:budget:ratio", *(f"fairlead:bad:ratio{window}" for window in WINDOWS)]
    assert recorded == [(name, level.name) for level in LEVELS for name in names]


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_the_page_has_the_objective_and_the_exact_queries(level: Level) -> None:
    assert f"| [{level.name}](#{level.name}) | {level.objective * 100:g} % |" in PAGE
    (section,) = re.findall(rf"^## {level.name}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    for query in (level.bad, level.all):
        assert query.replace("$window", "5m") in re.sub(r"\s+", " ", section)
    assert "It excludes" in section
