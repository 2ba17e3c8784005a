"""The cost of a client that connects with a token, by a connect hook over NATS, and by one over HTTP, in turn.

Edges, NATS and the backend are perf's own; the backend admits everybody at once. Each round starts an edge for each
way, the order changing from round to round. The same clients connect to it at --connect-rate, for the CPU of the edge's
process and for the connect time, and all at once, for connects a second. What counts is the ratio to a connect with a
token. Exit code 1 if a client does not connect.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from perf import options, runner
from perf.load import delivery
from perf.load.dialects.centrifuge import Centrifuge
from perf.load.pacing import Schedule
from perf.load.plan import Plan
from perf.modes import accept
from perf.report import tables
from perf.report.distribution import Distribution, distribution, median_ratio
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers import hook_backend_nats
from perf.servers.edge import OwnEdge
from perf.servers.stack import CHANNELS, OwnStack, running_stack
from perf.settings import PerfSettings

TOKEN, NATS, HTTP = "token", "nats", "http"
WAYS: Final = (TOKEN, NATS, HTTP)
_SAYS: Final = {TOKEN: "by a token", NATS: "by a hook over NATS", HTTP: "by a hook over HTTP"}

HOOK: Final = """
[client]
connect_hook = true
connect_backend = "{backend}"
hook_timeout = "4s" # all clients come at once: the last ones wait for their turn
"""
BACKEND: Final = """
[[backends]]
name = "app"
url = "http://127.0.0.1:{port}/{{event}}"
http_headers = ["Cookie", "User-Agent", "Origin"]
"""


class Way(msgspec.Struct):
    """Round after round."""

    connects_per_s: list[float] = []
    connect_s: list[Distribution] = []
    edge_cpu_us: list[float] = []


class HooksFigures(Figures):
    """By "token", "nats" and "http". The ratios are to the token, medians over the rounds. `edge_cpu_us`: microseconds
    of the edge for each client.
    """

    connections: int
    rate_asked_per_s: float
    ways: dict[str, Way]
    ratio_of_connects: dict[str, float]
    ratio_of_cpu: dict[str, float]

    def table(self) -> str:
        rows: list[tables.Row] = [("clients", self.connections)]
        for name, way in self.ways.items():
            per_s = "  ".join(str(round(each)) for each in way.connects_per_s)
            cpu = "  ".join(str(round(each)) for each in way.edge_cpu_us)
            rows.append((_SAYS[name], f"{per_s} a second; {cpu} us of CPU for each"))
            rows += [(f"at {self.rate_asked_per_s:g} a second", f"{each.in_ms()} ms") for each in way.connect_s]
        for name, ratio in self.ratio_of_connects.items():
            rows.append(
                (f"{_SAYS[name]}, to the token", f"{ratio} of its connects, {self.ratio_of_cpu[name]} of its CPU")
            )
        return tables.text(rows)


@dataclass(frozen=True)
class _Measured:
    connects_per_s: float
    connect_s: Distribution
    edge_cpu_us: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=1000, rate=300)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the median counts (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    expected_s = 3 * arguments.rounds * 3 * options.expected_s(arguments, 10)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None)


async def measure(arguments: argparse.Namespace, shown: Bar) -> HooksFigures:
    ways = {name: Way() for name in WAYS}
    async with running_stack() as stack:
        for number in range(arguments.rounds):
            for name in _rotated(number):
                async with _edge(stack, name) as edge:
                    found = await _connect(stack, edge, name, arguments, shown)
                ways[name].connects_per_s.append(found.connects_per_s)
                ways[name].connect_s.append(found.connect_s)
                ways[name].edge_cpu_us.append(found.edge_cpu_us)
    token, hooks = ways[TOKEN], {name: way for name, way in ways.items() if name != TOKEN}
    return HooksFigures(
        connections=arguments.connections,
        rate_asked_per_s=arguments.rate,
        ways=ways,
        ratio_of_connects={n: median_ratio(way.connects_per_s, token.connects_per_s) for n, way in hooks.items()},
        ratio_of_cpu={n: median_ratio(way.edge_cpu_us, token.edge_cpu_us) for n, way in hooks.items()},
    )


def _rotated(number: int) -> tuple[str, ...]:
    first = number % len(WAYS)
    return WAYS[first:] + WAYS[:first]


@contextlib.asynccontextmanager
async def _edge(stack: OwnStack, name: str) -> AsyncIterator[OwnEdge]:
    """An edge that admits clients in this way, with the backend that it asks."""
    if name == TOKEN:
        async with stack.edge() as edge:
            yield edge
        return
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-hooks-") as folder:
        async with hook_backend_nats.running(stack.nats_url, Path(folder)) as port:
            configuration = Path(folder) / "fairlead.toml"
            hook = HOOK.format(backend="app" if name == HTTP else "nats")
            configuration.write_text(CHANNELS.read_text() + hook + (BACKEND.format(port=port) if name == HTTP else ""))
            async with stack.edge(config=configuration) as edge:
                yield edge


async def _connect(stack: OwnStack, edge: OwnEdge, name: str, arguments: argparse.Namespace, shown: Bar) -> _Measured:
    plan = options.own_plan(arguments, stack, [edge], "")
    if name != TOKEN:
        plan = replace(plan, dialect=Centrifuge())
    cpu_s = await accept.cpu_s_for_each(edge, plan, arguments.processes, shown)  # loads what a first client loads
    at_once = replace(plan, schedule=Schedule(plan.schedule.count, math.inf))
    return _Measured(
        connects_per_s=round(await _connects_per_s(at_once, arguments.processes, shown), 1),
        connect_s=await _connect_s(plan, arguments.processes, shown),
        edge_cpu_us=round(cpu_s * 1e6, 1),
    )


async def _connects_per_s(plan: Plan, processes: int, shown: Bar) -> float:
    async with delivery.held(plan, processes, shown) as fleet:
        tally = await fleet.finish()
    return plan.schedule.count / (tally.last_established_at - fleet.started_at)


async def _connect_s(plan: Plan, processes: int, shown: Bar) -> Distribution:
    async with delivery.held(plan, processes, shown) as fleet:
        tally = await fleet.finish()
    return distribution(tally.connect_s)
