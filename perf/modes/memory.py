"""The memory of a connection at an edge, by stage: accepted, upgraded, connected, subscribed.

NATS is perf's own; each stage has a fresh edge, with N clients that go as far as that stage. A figure is the growth of
the edge's memory (RSS; with --reference, PSS of that process) from before the first client to after the last, divided
by N. The kernel's socket buffers are not included. --reference adds a plain Starlette WebSocket on uvicorn. Exit code 1
if a client did not get as far as it should.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from dataclasses import replace

from perf import options, runner
from perf.errors import Refusal, RunFailed
from perf.load import delivery
from perf.load.delivery import Server
from perf.load.dialects import Dialect
from perf.load.dialects.centrifuge import PATH, Centrifuge
from perf.load.dialects.unfinished import Unfinished
from perf.load.target import Target
from perf.report import tables
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings
from perf.systems import reference

SETTLE_S = 1.5
"""The time after the last client in which session events are sent, and memory for connecting is freed."""

PATIENCE = {"client_stale_close_delay": "300s"}
"""An edge closes clients that do not connect; here they must stay as long as they are measured."""

STAGES = {
    "accepted": "TCP accepted",
    "upgraded": "WebSocket upgraded",
    "connected": "connected",
    "shared": "subscribed, all to one channel",
    "own": "subscribed, each to its own",
}


class MemoryFigures(Figures):
    """`bytes_per_connection` is by stage."""

    connections: int
    bytes_per_connection: dict[str, float]
    starlette_bytes_per_connection: float | None

    def table(self) -> str:
        rows: list[tables.Row] = [(STAGES[name], f"{one:g} bytes") for name, one in self.bytes_per_connection.items()]
        if self.starlette_bytes_per_connection is not None:
            rows.append(("a Starlette WebSocket", f"{self.starlette_bytes_per_connection:g} bytes"))
        return tables.text(rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=5000, rate=1500)
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES), help="which (default: all)")
    parser.add_argument("--reference", action="store_true", help="measure a plain Starlette WebSocket too")


def stages(token_secret: str) -> dict[str, Dialect]:
    """What the clients of each stage do."""
    whole = Centrifuge(user="weighed-{i}", token_secret=token_secret)
    return {
        "accepted": Unfinished(),
        "upgraded": Unfinished(path=PATH),
        "connected": whole,
        "shared": replace(whole, channel="log:shared"),
        "own": replace(whole, channel="log:own-{i}"),
    }


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not arguments.stages:
        raise Refusal("--stages names at least one")
    runs = len(arguments.stages) + 1
    expected_s = runs * options.expected_s(arguments, 20)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None)


async def measure(arguments: argparse.Namespace, shown: Bar) -> MemoryFigures:
    by_stage: dict[str, float] = {}
    async with running_stack() as stack:
        for name in arguments.stages:
            shown.phase(name)
            by_stage[name] = await _of_stage(stack, name, arguments, shown)
    starlette = await _of_starlette(arguments, shown) if arguments.reference else None
    return MemoryFigures(
        connections=arguments.connections, bytes_per_connection=by_stage, starlette_bytes_per_connection=starlette
    )


async def _of_stage(stack: OwnStack, name: str, arguments: argparse.Namespace, shown: Bar) -> float:
    async with stack.edge(**PATIENCE) as edge:
        return await _of_each(edge, edge.port, stages(stack.token_secret)[name], arguments, shown)


async def _of_starlette(arguments: argparse.Namespace, shown: Bar) -> float:
    async with reference.starlette() as server:
        return await _of_each(server, server.port, server.dialect, arguments, shown)


async def _of_each(server: Server, port: int, dialect: Dialect, arguments: argparse.Namespace, shown: Bar) -> float:
    """Bytes of the server for each client that has gone as far as the dialect says. Raises `RunFailed`."""
    plan = options.plan(arguments, Target("127.0.0.1", port, ""), dialect)
    before, _ = server.usage()
    async with contextlib.AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(delivery.held(plan, arguments.processes, shown))
        await asyncio.sleep(SETTLE_S)
        after, _ = server.usage()
        lost = fleet.progress.lost
        await fleet.finish()
    if lost:
        raise RunFailed(f"{lost} of {arguments.connections} clients were lost before they were measured")
    return float(round((after - before) / arguments.connections))
