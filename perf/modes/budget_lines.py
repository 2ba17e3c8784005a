"""The budgets of the design (section 8): the run that shows each, its bound, and what the table says about it.

`LINES` are the budgets themselves. `QUICK_LINES` are what CI checks for each change: runs of a few seconds, and bounds
so far from what is measured that only a regression crosses them, not a busy machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from perf.modes import accept, drain, fanout, fold, latency, memory, start
from perf.modes.accept import AcceptFigures
from perf.modes.drain_figures import DrainFigures
from perf.modes.fanout import FanoutFigures
from perf.modes.fold import FoldFigures
from perf.modes.latency import LatencyFigures
from perf.modes.memory import MemoryFigures
from perf.modes.start import StartFigures
from perf.report.drift import Ratio
from perf.report.figures import Figures
from perf.runner import Measure
from perf.settings import PerfSettings

F = TypeVar("F", bound=Figures)

MEMORY_BYTES = 6_000
START_S = 0.6

ACCEPT = Ratio("accept", "CPU to accept a client, to that of a bare Starlette accept")
MEMORY = Ratio("memory", "bytes of an idle connection, subscribed to a channel of its own")
FANOUT = Ratio(
    "fanout", "fan-out of 32 publications for each CPU second, to Starlette's send_text", more_is_better=True
)
FOLLOWED: Final = (ACCEPT, MEMORY, FANOUT)
"""What the history follows: ratios of two servers in one run, and bytes, which a busy machine does not change. It does
not follow wall-clock times."""


@dataclass(frozen=True)
class Bound(Generic[F]):
    """`used` is the share of the bound that was used: up to 1.0 the bound is kept. A bound that does not count is only
    shown.

    `followed` is its figure in the history, and what that is.
    """

    what: str
    bound: str
    measured: Callable[[F], str]
    used: Callable[[F], float]
    counts: bool = True
    followed: tuple[Ratio, Callable[[F], float]] | None = None


@dataclass(frozen=True)
class Line(Generic[F]):
    """One run of a mode, and the bounds that it shows."""

    name: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    measure: Measure[F]
    options: str
    bounds: Sequence[Bound[F]]

    @property
    def command(self) -> str:
        return f"python -m perf {self.name} {self.options}".rstrip()


def _accept(options: str, most: float) -> Line[AcceptFigures]:
    bound = Bound[AcceptFigures](
        "CPU to accept, check a JWT, connect, subscribe, log the session",
        f"{most:g} x a bare Starlette accept",
        lambda figures: f"{figures.ratio} x",
        lambda figures: figures.ratio / most,
        followed=(ACCEPT, lambda figures: figures.ratio),
    )
    return Line("accept", accept.add_arguments, accept.measure, options, (bound,))


def _memory(options: str, stages: Sequence[str], most: float) -> Line[MemoryFigures]:
    def bound(stage: str) -> Bound[MemoryFigures]:
        return Bound(
            f"memory of an idle connection, {memory.STAGES[stage]}",
            f"{most:g} bytes",
            lambda figures: f"{figures.bytes_per_connection[stage]:g} bytes",
            lambda figures: figures.bytes_per_connection[stage] / most,
            followed=(MEMORY, lambda figures: figures.bytes_per_connection[stage]) if stage == "own" else None,
        )

    return Line("memory", memory.add_arguments, memory.measure, options, tuple(map(bound, stages)))


def _fanout(options: str, least: dict[str, float], how: str = "", counts: bool = True) -> Line[FanoutFigures]:
    """`least` is the least ratio to each of the other servers."""
    titles = {"send-loop": "a C send() loop", "starlette": "Starlette's send_text"}

    def bound(other: str, ratio: float) -> Bound[FanoutFigures]:
        return Bound(
            f"fan-out of one edge{how}, against {titles[other]}",
            f"at least {ratio:g} x, nothing missing",
            lambda figures: f"{figures.ratio_to[other]} x, {figures.lost} missing",
            lambda figures: float("inf") if figures.lost else ratio / max(figures.ratio_to[other], 1e-9),
            counts,
            (FANOUT, lambda figures: figures.ratio_to[other]) if other == "starlette" else None,
        )

    return Line("fanout", fanout.add_arguments, fanout.measure, options, [bound(*one) for one in least.items()])


def _latency(options: str, most: float) -> Line[LatencyFigures]:
    def measured(figures: LatencyFigures) -> str:
        p99_s = figures.age_s.p99
        p99 = "-" if p99_s is None else f"{p99_s * 1000:.1f} ms"
        return f"{figures.p99_to_bare_nats} x, {p99}, {figures.lost} missing"

    def used(figures: LatencyFigures) -> float:
        ratio = figures.p99_to_bare_nats
        return float("inf") if figures.lost or ratio is None else ratio / most

    bound = Bound("publish to delivery, p99", f"{most:g} x a bare NATS publish-subscribe", measured, used)
    return Line("latency", latency.add_arguments, latency.measure, options, (bound,))


def _start(options: str, most: float) -> Line[StartFigures]:
    bound = Bound[StartFigures](
        "edge process, start to ready, median",
        f"{most:g} s",
        lambda figures: f"{figures.ready_s.p50:.3f} s, {figures.ready_s.max:.3f} s at most",
        lambda figures: (figures.ready_s.p50 or float("inf")) / most,
    )
    return Line("start", start.add_arguments, start.measure, options, (bound,))


def _drain(options: str, what: str, most: float) -> Line[DrainFigures]:
    def used(figures: DrainFigures) -> float:
        return float("inf") if figures.broken_promises or figures.exit_s is None else figures.exit_s / most

    bound = Bound[DrainFigures](
        what,
        f"{most:g} s, every client sees 1001",
        lambda figures: f"{figures.exit_s} s" + "".join(f"; {broken}" for broken in figures.broken_promises),
        used,
    )
    measure = partial(drain.measure, PerfSettings())  # with --alone no setting of the stack is used
    return Line("drain", drain.add_arguments, measure, options, (bound,))


def _fold(options: str, least: float) -> Line[FoldFigures]:
    bound = Bound[FoldFigures](
        "session events folded into PostgreSQL, the service on one core",
        f"at least {least:,.0f} a second",
        lambda figures: f"{figures.events_a_second:,} a second",
        lambda figures: least / max(figures.events_a_second, 1e-9),
    )
    return Line("fold", fold.add_arguments, fold.measure, options, (bound,))


LINES: tuple[Line[Any], ...] = (
    _accept("--rounds 3", 1.0),
    _memory("--stages own shared", ("own", "shared"), MEMORY_BYTES),
    _fanout("--rounds 3 --seconds 3 --against send-loop starlette", {"send-loop": 0.7, "starlette": 3.0}),
    _fanout(  # publications of one turn of the loop leave in one write; here each has a turn of its own
        "--rounds 3 --seconds 3 --window 1 --against send-loop starlette",
        {"send-loop": 0.7, "starlette": 3.0},
        ", one publication at a time",
        counts=False,
    ),
    _latency("--seconds 10 --rounds 3 --bare-nats", 10.0),
    _start("--starts 10", START_S),
    _drain("--alone --connections 5000 --channel log:{i}", "drain of 5,000 clients", 10.0),
    _drain("--alone --unpaced --connections 5000 --channel log:{i}", "drain of 5,000 clients, not paced", 2.0),
    _fold("--events 300000", 30_000),
)

QUICK_LINES: tuple[Line[Any], ...] = (
    _accept("--rounds 3 --connections 800", 1.2),
    _memory("--stages own --connections 2000", ("own",), 8_000),
    _fanout(  # with few in flight, the machine's load decides how many of them share a write
        "--rounds 5 --seconds 1 --connections 500 --window 32 --against starlette",
        {"starlette": 2.0},
        ", 32 publications in flight",
    ),
    _drain("--alone --unpaced --connections 500 --channel log:{i}", "drain of 500, not paced", 2.0),
)

ELSEWHERE = {
    "5,000 connections through Traefik": "python -m perf compare",
    "container, start to ready": "python -m perf start --container fairlead:local",
}
"""Budgets that need another system or an image, and the command that measures each."""
