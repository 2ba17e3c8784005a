"""Every series and label that rules and dashboards read is in the catalogue of a service, or is another program's."""

from __future__ import annotations

import pytest

from deploy.observe.boards.board import Board
from deploy.observe.dashboards import BOARDS
from tests.deploy.observe.known_series import check
from tests.deploy.observe.promql import selectors
from tests.deploy.observe.rules import Rule, rules


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


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: f"{rule.name}{''.join(rule.labels.values())}")
def test_a_rule_reads_series_and_labels_that_exist(rule: Rule) -> None:
    check(rule.expr)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_dashboard_reads_series_and_labels_that_exist(board: Board) -> None:
    for panel in board.panels:
        for query in panel.queries.values():
            check(query)


@pytest.mark.parametrize(
    "expr",
    [
        "fairlead_edge_typo",
        'fairlead_edge_publishes_failed_total{cause=~"away|storge"}',
        'up{instnce="x"}',
        "sum by (nothing) (up)",
    ],
)
def test_what_does_not_exist_is_noticed(expr: str) -> None:
    with pytest.raises(AssertionError):
        check(expr)
