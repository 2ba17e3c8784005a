"""The budgets of the design (section 8): what is run for each, what it must show, and what is said of it. Plain data.

`LINES` are the budgets themselves. `QUICK_LINES` are what CI holds each change to: runs of a few seconds, and bounds
far enough from what is measured that only a regression crosses them, not a busy machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from perf.modes import accept, drain, fanout, fold, latency, memory, start
from perf.reporting import Measure
from perf.settings import PerfSettings

Figures = dict[str, Any]
"""A mode's report."""

MEMORY_BYTES = 6_000
START_S = 0.6


@dataclass(frozen=True)
class Bound:
    """`used` is the share of the bound that was taken: up to 1.0 it is kept. One that does not count is shown only."""

    what: str
    bound: str
    measured: Callable[[Figures], str]
    used: Callable[[Figures], float]
    counts: bool = True


@dataclass(frozen=True)
class Line:
    """One run of a mode, and the bounds that it shows."""

    mode: ModuleType
    options: str
    bounds: Sequence[Bound]

    @property
    def name(self) -> str:
        return self.mode.__name__.rpartition(".")[2]

    @property
    def command(self) -> str:
        return f"python -m perf {self.name} {self.options}".rstrip()

    def measure(self, settings: PerfSettings) -> Measure:
        measure: Measure = partial(drain.measure, settings) if self.mode is drain else self.mode.measure
        return measure


def _accept(most: float) -> Bound:
    return Bound(
        "CPU to accept, check a JWT, connect, subscribe, log the session",
        f"{most:g} x a bare Starlette accept",
        lambda report: f"{report['ratio']} x",
        lambda report: float(report["ratio"] / most),
    )


def _memory(stage: str, most: float) -> Bound:
    return Bound(
        f"memory of an idle connection, {memory.STAGES[stage]}",
        f"{most:g} bytes",
        lambda report: f"{report['bytes_per_connection'][stage]:g} bytes",
        lambda report: float(report["bytes_per_connection"][stage] / most),
    )


def _fanout(other: str, title: str, least: float, how: str = "", counts: bool = True) -> Bound:
    return Bound(
        f"fan-out of one edge{how}, against {title}",
        f"at least {least:g} x, nothing missing",
        lambda report: f"{report['ratio_to'][other]} x, {report['lost']} missing",
        lambda report: float("inf") if report["lost"] else least / max(report["ratio_to"][other], 1e-9),
        counts,
    )


def _latency(most: float) -> Bound:
    return Bound(
        "publish to delivery, p99",
        f"{most:g} x a bare NATS publish-subscribe",
        lambda report: (
            f"{report['p99_to_bare_nats']} x, {report['age_s']['p99'] * 1000:.1f} ms, {report['lost']} missing"
        ),
        lambda report: float("inf") if report["lost"] else report["p99_to_bare_nats"] / most,
    )


def _start(most: float) -> Bound:
    return Bound(
        "edge process, start to ready, median",
        f"{most:g} s",
        lambda report: f"{report['ready_s']['p50']:.3f} s, {report['ready_s']['max']:.3f} s at the most",
        lambda report: float(report["ready_s"]["p50"] / most),
    )


def _drain(what: str, most: float) -> Bound:
    def used(report: Figures) -> float:
        return float("inf") if report["broken_promises"] else report["exit_s"] / most

    return Bound(
        what,
        f"{most:g} s, every client sees 1001",
        lambda report: f"{report['exit_s']} s" + "".join(f"; {broken}" for broken in report["broken_promises"]),
        used,
    )


def _fold(least: float) -> Bound:
    return Bound(
        "session events folded into PostgreSQL, the service on one core",
        f"at least {least:,.0f} a second",
        lambda report: f"{report['events_a_second']:,} a second",
        lambda report: least / max(report["events_a_second"], 1e-9),
    )


ONE = ", one publication at a time"

LINES = (
    Line(accept, "--rounds 3", (_accept(1.0),)),
    Line(memory, "--stages own shared", (_memory("own", MEMORY_BYTES), _memory("shared", MEMORY_BYTES))),
    Line(
        fanout,
        "--rounds 3 --seconds 3 --against send-loop starlette",
        (_fanout("send-loop", "a C send() loop", 0.7), _fanout("starlette", "Starlette's send_text", 3.0)),
    ),
    Line(  # what is published in one turn of the loop leaves in one write: this is what is left without that
        fanout,
        "--rounds 3 --seconds 3 --window 1 --against send-loop starlette",
        (
            _fanout("send-loop", "a C send() loop", 0.7, ONE, counts=False),
            _fanout("starlette", "Starlette's send_text", 3.0, ONE, counts=False),
        ),
    ),
    Line(latency, "--seconds 10 --rounds 3 --bare-nats", (_latency(10.0),)),
    Line(start, "--starts 10", (_start(START_S),)),
    Line(drain, "--alone --connections 5000 --channel log:{i}", (_drain("drain of 5,000 clients", 10.0),)),
    Line(
        drain,
        "--alone --unpaced --connections 5000 --channel log:{i}",
        (_drain("drain of 5,000 clients, not paced", 2.0),),
    ),
    Line(fold, "--events 300000", (_fold(30_000),)),
)

QUICK_LINES = (
    Line(accept, "--rounds 3 --connections 800", (_accept(1.2),)),
    Line(memory, "--stages own --connections 2000", (_memory("own", 8_000),)),
    Line(
        fanout,
        "--rounds 3 --seconds 1 --connections 500 --against starlette",
        (_fanout("starlette", "Starlette's send_text", 2.0),),
    ),
    Line(drain, "--alone --unpaced --connections 500 --channel log:{i}", (_drain("drain of 500, not paced", 2.0),)),
)

ELSEWHERE = {
    "5,000 connections through Traefik": "python -m perf compare",
    "container, start to ready": "python -m perf start --container fairlead:local",
}
"""Budgets that need another system or an image: what measures them."""
