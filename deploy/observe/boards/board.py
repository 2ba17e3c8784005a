"""The parts of a dashboard.

A query is PromQL. $w is the window of rates, which Grafana chooses by the time range; $edge stands for the edges that
the reader has chosen, on boards that offer the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["short", "percentunit", "s", "bytes", "ops", "Bps"]
"""Grafana's names: a number, a share of 1, seconds, bytes, a rate per second, bytes per second."""


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` has PromQL by legend; a legend may name labels, such as {{instance}}. `note` says what to
    look for. With `stat` it shows one number instead of a curve."""

    title: str
    unit: Unit
    queries: dict[str, str]
    note: str
    stat: bool = False


@dataclass(frozen=True)
class Board:
    """One dashboard. With `by_edge` the reader chooses edges."""

    name: str
    title: str
    panels: Sequence[Panel]
    by_edge: bool = False


def quantiles(histogram: str, by: str = "") -> dict[str, str]:
    """The median and the 99th percentile of a histogram, one curve for each value of the label `by`."""
    keep, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    name, brace, matchers = histogram.partition("{")
    rates = f"sum by ({keep}) (rate({name}_bucket{brace}{matchers}[$w]))"
    return {f"p{q:g}{legend}": f"histogram_quantile({q / 100:g}, {rates})" for q in (50, 99)}
