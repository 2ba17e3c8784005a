"""The trials of a comparison as tables: a row for each system, the median of its repeats in each cell. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from perf.report import tables
from perf.report.comparison import Trial

STARVED_MARK = "*"
STARVED_NOTE = (
    "`*` the clients were the limit, or were late themselves, in at least one repeat: read it as what they could do."
)


class Column(NamedTuple):
    """`field` of `part` of a trial ("" is the trial itself), times `scale`. `marked`: clients that lack CPU distort
    it."""

    name: str
    title: str
    part: str
    field: str
    scale: float
    form: str
    marked: bool = False

    def value(self, trial: Trial) -> float | None:
        part = getattr(trial, self.part) if self.part else trial
        value = None if part is None else getattr(part, self.field)
        return None if value is None else value * self.scale

    def starved(self, trial: Trial) -> bool:
        return self.marked and bool(getattr(getattr(trial, self.part), "starved", False))


CONNECTING = (
    Column("steady_ok", "steady: connected", "steady", "success", 100, "{:.1f} %"),
    Column("steady_p50", "p50 ms", "steady", "p50_s", 1000, "{:,.1f}", True),
    Column("steady_p99", "p99 ms", "steady", "p99_s", 1000, "{:,.1f}", True),
    Column("burst_ok", "burst: connected", "burst", "success", 100, "{:.1f} %"),
    Column("burst_p50", "p50 ms", "burst", "p50_s", 1000, "{:,.0f}", True),
    Column("burst_p99", "p99 ms", "burst", "p99_s", 1000, "{:,.0f}", True),
    Column("burst_rate", "connects/s", "burst", "per_s", 1, "{:,.0f}"),
)
COST = (
    Column("connect_cpu", "CPU ms per connection", "steady", "cpu_ms", 1, "{:.2f}"),
    Column("connection_kb", "KB per connection", "", "connection_pss_bytes", 1e-3, "{:.1f}"),
    Column("idle_mb", "MB without clients", "", "idle_pss_bytes", 1e-6, "{:,.0f}"),
    Column("start", "start, s", "", "start_s", 1, "{:.2f}"),
    Column("stop", "stop, s", "stop", "seconds", 1, "{:.2f}"),
)
DELIVERING = (
    Column("fanout_rate", "deliveries/s", "fanout", "per_s", 1, "{:,.0f}", True),
    Column("fanout_cpu", "deliveries per CPU second", "fanout", "per_cpu_s", 1, "{:,.0f}"),
    Column("fanout_ok", "delivered", "fanout", "delivered", 100, "{:.1f} %"),
    Column("latency_p50", "latency p50 ms", "latency", "p50_s", 1000, "{:.2f}", True),
    Column("latency_p99", "p99 ms", "latency", "p99_s", 1000, "{:.2f}", True),
)
COLUMNS = (*CONNECTING, *COST, *DELIVERING)


def medians(trials: Sequence[Trial], system: str) -> dict[str, float | None]:
    """The medians of one system by the name of the column; None where no repeat measured it."""
    own = [trial for trial in trials if trial.system == system]
    return {column.name: _median(column, own) for column in COLUMNS}


def markdown(trials: Sequence[Trial], titles: Mapping[str, str]) -> str:
    """Three tables, because seventeen columns are too many for one. `titles` names the systems, in their order."""
    own = {name: [trial for trial in trials if trial.system == name] for name in titles}
    codes = {name: _close_codes(of_one) for name, of_one in own.items()}
    parts = [
        _table("connecting", CONNECTING, own, titles),
        _table("cost", COST, own, titles, ("close code", codes)),
        _table("delivering", DELIVERING, own, titles),
    ]
    if any(column.starved(trial) for column in COLUMNS for trial in trials):
        parts.append(STARVED_NOTE)
    return "\n\n".join(parts)


def times_slower(trials: Sequence[Trial], other: str, than: str) -> dict[str, float] | None:
    """How many times longer the p99 connect of `other` is, steady and in a burst. None if one of them was not run."""
    theirs, own = medians(trials, other), medians(trials, than)
    ratios = {}
    for name in ("steady_p99", "burst_p99"):
        above, below = theirs[name], own[name]
        if above is None or not below:
            return None
        ratios[name] = round(above / below, 2)
    return ratios


def _table(
    title: str,
    columns: Sequence[Column],
    own: Mapping[str, Sequence[Trial]],
    titles: Mapping[str, str],
    last: tuple[str, Mapping[str, str]] | None = None,
) -> str:
    """`last` is one more column: its title, and a text for each system."""
    head = [title, *(column.title for column in columns)]
    rows = [[titles[name], *(_cell(column, own[name]) for column in columns)] for name in own]
    if last is not None:
        head.append(last[0])
        rows = [[*row, last[1][name]] for row, name in zip(rows, own, strict=True)]
    return tables.markdown(head, rows)


def _cell(column: Column, own: Sequence[Trial]) -> str:
    value = _median(column, own)
    if value is None:
        return "-"
    return column.form.format(value) + (STARVED_MARK if any(map(column.starved, own)) else "")


def _median(column: Column, own: Sequence[Trial]) -> float | None:
    values = [value for trial in own if (value := column.value(trial)) is not None]
    return median(values) if values else None


def _close_codes(own: Sequence[Trial]) -> str:
    """All codes that clients saw at the stop, most frequent first; "none" is an end without a close frame."""
    counted: Counter[str] = Counter()
    for trial in own:
        counted.update(trial.stop.codes if trial.stop else {})
    return ", ".join(code for code, _ in counted.most_common()) or "-"
