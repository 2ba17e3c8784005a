"""What there is to read: the series of our processes and, of other programs, those that rules and dashboards need."""

from __future__ import annotations

import re
from typing import get_args

from deploy.series_page import CATALOGS
from services.edge.backend.backend import FailureCause as BackendFailure
from services.edge.broker.broker import FailureCause as PublishFailure
from services.edge.tally import UPGRADE_CAUSES
from tests.deploy.observe.promql import grouping_labels, selectors
from tests.deploy.observe.rules import rules

OF_TARGETS = {"job", "instance"}
OF_OTHERS = {
    "up": OF_TARGETS,  # Prometheus: 1 if the target answered
    "ALERTS": {"alertname", "alertstate"},  # Prometheus: 1 for each alert that is pending or fires
    "python_gc_collections_total": {"generation", *OF_TARGETS},  # prometheus-client
    "traefik_tls_certs_not_after": {"cn", "sans", "serial", *OF_TARGETS},
}

RECORDED = {rule.name: set(rule.labels) for rule in rules() if not rule.is_alert}


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

CAUSES: dict[str, set[str]] = {
    "fairlead_edge_publishes_failed_total": set(get_args(PublishFailure)),
    "fairlead_edge_backend_failures_total": set(get_args(BackendFailure)),
    "fairlead_edge_upgrades_refused_total": set(UPGRADE_CAUSES),
}
"""Series -> the values that its label `cause` has."""


def check(expr: str) -> None:
    """Fails for a series that no process has, a label that no series of the expression has, or a cause that there is
    not."""
    for name, causes in CAUSES.items():
        for named in re.findall(rf'{name}{{[^}}]*\bcause=~?"([^"]*)"', expr):
            assert set(named.split("|")) <= causes, (name, named)
    read = dict(selectors(expr))
    assert sorted(set(read) - set(KNOWN)) == []
    assert {name: labels - KNOWN[name] for name, labels in read.items() if labels - KNOWN[name]} == {}
    assert grouping_labels(expr) <= set().union(*(KNOWN[name] for name in read))
