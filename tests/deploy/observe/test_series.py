"""Every series that rules read, and every label, is in the catalogue of a service, or is another program's."""

from __future__ import annotations

import pytest

from deploy.series_page import CATALOGS
from tests.deploy.observe.promql import grouping_labels, selectors
from tests.deploy.observe.rules import Rule, rules

OF_OTHERS = {
    "up": {"job", "instance"},  # Prometheus: 1 if the target answered
    "traefik_tls_certs_not_after": {"cn", "sans", "serial"},
}
OF_TARGETS = {"job", "instance"}

ALL = rules()
RECORDED = {rule.name: set(rule.labels) for rule in ALL if not rule.is_alert}


def shown() -> dict[str, set[str]]:
    """Name of each series as Prometheus stores it -> its labels."""
    found: dict[str, set[str]] = {}
    for catalog in CATALOGS.values():
        for series in catalog.values():
            labels = {*series.labels, *OF_TARGETS}
            match series.kind:
                case "counter":
                    found[series.name + "_total"] = labels
                case "histogram":
                    found |= {series.name + "_bucket": labels | {"le"}}
                    found |= {series.name + part: labels for part in ("_count", "_sum")}
                case "gauge":
                    found[series.name] = labels
    return found


KNOWN = shown() | OF_OTHERS | RECORDED


@pytest.mark.parametrize(
    ("expr", "read"),
    [
        ("up == 0", {"up": set()}),
        ('sum by (le) (rate(a_bucket{job=~"x(y)", b!="{"}[5m])) > 0.5', {"a_bucket": {"job", "b"}}),
        (
            "fairlead:bad:ratio1h > 14.4 * fairlead:budget:ratio",
            {"fairlead:bad:ratio1h": set(), "fairlead:budget:ratio": set()},
        ),
        ("(count(a == 1) or vector(0)) == 0 unless on (x) b_total offset 5m", {"a": set(), "b_total": set()}),
    ],
)
def test_what_an_expression_reads_is_found(expr: str, read: dict[str, set[str]]) -> None:
    assert dict(selectors(expr)) == read


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: f"{rule.name}{''.join(rule.labels.values())}")
def test_a_rule_reads_series_and_labels_that_exist(rule: Rule) -> None:
    check(rule.expr)


def check(expr: str) -> None:
    """Fails for a series that no process has, or a label that no series of the expression has."""
    read = dict(selectors(expr))
    assert sorted(set(read) - set(KNOWN)) == []
    assert {name: labels - KNOWN[name] for name, labels in read.items() if labels - KNOWN[name]} == {}
    assert grouping_labels(expr) <= set().union(*(KNOWN[name] for name in read))
