"""The service levels, and the rules made from them: `python -m deploy.observe.levels` writes rules/levels.yml.

docs/slo.md explains them. Each level is the share of events that were bad, over seven windows; two alerts compare it
with what the objective allows (the Site Reliability Workbook's multi-window, multi-burn-rate alerts).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

RULES: Final = Path(__file__).with_name("rules") / "levels.yml"

WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

QUIET_RATE: Final = 0.1
"""The least number of events per second that a level assumes, so that one failure in a quiet night is no alert."""

QUIET_DRAINS: Final = 1 / 300
"""The same for drains, which are rare: one bad drain fires DrainTooLong, two in an hour also burn the budget."""


@dataclass(frozen=True)
class Level:
    """One service level. `bad` and `all` are rates of events, in PromQL, with $window for the window."""

    name: str
    objective: float  # the share of events that must be good, over 30 days
    bad: str
    all: str
    quiet: float = QUIET_RATE  # the least number of events per second that it assumes

    def ratio(self, window: str) -> str:
        """The share of events that were bad within the window. A series that does not exist yet counts as 0."""
        bad, every = (one.replace("$window", window) for one in (self.bad, self.all))
        return f"({bad} or vector(0)) / clamp_min({every}, {self.quiet:.4g})"

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        return round(1 - self.objective, 6)


_REFUSED: Final = (
    '(sum(rate(fairlead_edge_upgrades_refused_total{cause=~"unready|no_room|memory"}[$window])) or vector(0)) + '
    '(sum(rate(fairlead_edge_commands_total{type="connect", code="100"}[$window])) or vector(0))'
)

_UNDELIVERED: Final = (
    "(sum(rate(fairlead_edge_fan_out_dropped_total[$window])) or vector(0)) + "
    "(sum(rate(fairlead_edge_holes_total[$window])) or vector(0))"
)

LEVELS: Final = (
    Level(
        name="connect",
        objective=0.999,
        bad=_REFUSED,
        all='sum(rate(fairlead_edge_commands_total{type="connect"}[$window])) + '
        '(sum(rate(fairlead_edge_upgrades_refused_total{cause=~"unready|no_room|memory"}[$window])) or vector(0))',
    ),
    Level(
        name="delivery",
        objective=0.99,
        bad="sum(rate(fairlead_edge_delivery_seconds_count[$window])) - "
        'sum(rate(fairlead_edge_delivery_seconds_bucket{le="0.25"}[$window])) + ' + _UNDELIVERED,
        all="sum(rate(fairlead_edge_delivery_seconds_count[$window])) + " + _UNDELIVERED,
    ),
    Level(
        name="publish",
        objective=0.999,
        bad='sum(rate(fairlead_edge_publishes_failed_total{cause=~"away|timeout|busy|storage|refused"}[$window]))',
        all="sum(rate(fairlead_edge_publishes_total[$window])) + "
        'sum(rate(fairlead_edge_publishes_failed_total{cause=~"away|timeout|busy|storage|refused"}[$window]))',
    ),
    Level(
        name="recovery",
        objective=0.99,
        bad="sum(rate(fairlead_edge_unrecovered_total[$window]))",
        all="sum(rate(fairlead_edge_recovered_total[$window]) + rate(fairlead_edge_unrecovered_total[$window]))",
    ),
    Level(
        name="drain",
        objective=0.99,
        # every metrics service times all drains
        bad="max(rate(fairlead_cluster_drain_seconds_count[$window]) - "
        'ignoring (le) rate(fairlead_cluster_drain_seconds_bucket{le="10.0"}[$window]) + '
        "rate(fairlead_cluster_drains_lost_total[$window]))",
        all="max(rate(fairlead_cluster_drain_seconds_count[$window]) + "
        "rate(fairlead_cluster_drains_lost_total[$window]))",
        quiet=QUIET_DRAINS,
    ),
)

_HEAD: Final = """\
# Service levels (docs/slo.md): written by `python -m deploy.observe.levels`, which has them in a short form.
groups:
  - name: fairlead-levels
    interval: 30s # each of the long windows is read as a whole every time
    rules:
"""

_ALERTS: Final = """\
      - alert: ErrorBudgetBurnsFast
        expr: |-
          (
            fairlead:bad:ratio1h > 14.4 * fairlead:budget:ratio and fairlead:bad:ratio5m > 14.4 * fairlead:budget:ratio
          ) or (
            fairlead:bad:ratio6h > 6 * fairlead:budget:ratio and fairlead:bad:ratio30m > 6 * fairlead:budget:ratio
          )
        labels: {severity: critical}
        annotations:
          summary: The service level "{{ $labels.level }}" fails, and soon misses its objective for the month
          description: "{{ $value | humanizePercentage }} of all events of the last hours were bad."
          runbook_url: docs/operations.md#errorbudgetburnsfast
      - alert: ErrorBudgetBurns
        expr: |-
          (
            fairlead:bad:ratio1d > 3 * fairlead:budget:ratio and fairlead:bad:ratio2h > 3 * fairlead:budget:ratio
          ) or (
            fairlead:bad:ratio3d > fairlead:budget:ratio and fairlead:bad:ratio6h > fairlead:budget:ratio
          )
        labels: {severity: warning}
        annotations:
          summary: The service level "{{ $labels.level }}" misses its objective for the month if this goes on
          description: "{{ $value | humanizePercentage }} of all events of the last days were bad."
          runbook_url: docs/operations.md#errorbudgetburns
"""


def render() -> str:
    """The file of rules."""
    parts = [_HEAD]
    for level in LEVELS:
        labels = f"labels: {{level: {level.name}}}"
        parts.append(f"      - {{record: 'fairlead:budget:ratio', expr: vector({level.budget:g}), {labels}}}\n")
        for window in WINDOWS:
            record = f"      - record: fairlead:bad:ratio{window}\n        expr: {level.ratio(window)}\n"
            parts.append(f"{record}        {labels}\n")
    return "".join([*parts, _ALERTS])


if __name__ == "__main__":
    RULES.write_text(render())
    print(f"wrote {RULES.name}")
