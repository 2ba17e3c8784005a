"""What a connection weighs at an edge, by stage: accepted, upgraded, connected, subscribed.

NATS is perf's own, and so is a fresh edge for each stage, with N clients that go so far and no further. A figure is the
growth of the edge's memory (RSS; for those of --reference, PSS of the process) from before the first client to after
the last, divided by N. The kernel's socket buffers are in none of them. --reference adds a plain Starlette WebSocket on
uvicorn. Exit code 1 when a client did not get as far as it should.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from dataclasses import replace

from perf import client_options, delivery, own_clients, own_stack, reference, reporting, summary
from perf.delivery import Server
from perf.dialects import Dialect
from perf.dialects.centrifuge import PATH, Centrifuge
from perf.dialects.unfinished import Unfinished
from perf.own_stack import OwnStack
from perf.progress_bar import Bar
from perf.refusal import Refusal
from perf.reporting import Report
from perf.settings import PerfSettings
from perf.target import Target

SETTLE_S = 1.5
"""After the last client: session events leave, and what was made for connecting goes."""

PATIENCE = {"client_stale_close_delay": "300s"}
"""An edge closes clients that do not go on; here they stay as long as they are weighed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own_clients.add_arguments(parser, connections=5000, rate=1500)
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES), help="which (default: all)")
    parser.add_argument("--reference", action="store_true", help="weigh a plain Starlette WebSocket too")


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


STAGES = {
    "accepted": "TCP accepted",
    "upgraded": "WebSocket upgraded",
    "connected": "connected",
    "shared": "subscribed, all to one channel",
    "own": "subscribed, each to its own",
}


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not arguments.stages:
        raise Refusal("--stages names at least one")

    runs = len(arguments.stages) + 1
    expected_s = runs * client_options.expected_s(arguments, 20)
    report = await reporting.reported(arguments, expected_s, measure, _readable, arguments.connections)
    return int(report is None)


async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    weights: dict[str, float] = {}
    async with own_stack.running() as stack:
        for name in arguments.stages:
            shown.phase(name)
            weights[name] = await weigh_stage(stack, name, arguments, shown)
    report.update(connections=arguments.connections, bytes_per_connection=weights)
    report["starlette_bytes_per_connection"] = await weigh_starlette(arguments, shown) if arguments.reference else None


async def weigh_stage(stack: OwnStack, name: str, arguments: argparse.Namespace, shown: Bar) -> float:
    """Bytes of edge memory for each client that has gone as far as the stage says. Raises `reporting.RunFailed`."""
    async with stack.edge(**PATIENCE) as edge:
        return await weigh(edge, edge.port, stages(stack.token_secret)[name], arguments, shown)


async def weigh_starlette(arguments: argparse.Namespace, shown: Bar) -> float:
    """The same for a plain Starlette WebSocket."""
    async with reference.starlette() as server:
        return await weigh(server, server.port, server.dialect, arguments, shown)


async def weigh(server: Server, port: int, dialect: Dialect, arguments: argparse.Namespace, shown: Bar) -> float:
    plan = client_options.plan(arguments, Target("127.0.0.1", port, ""), dialect)
    before, _ = server.usage()
    async with contextlib.AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(delivery.held(plan, arguments.processes, shown))
        await asyncio.sleep(SETTLE_S)
        after, _ = server.usage()
        lost = fleet.progress.lost
        await fleet.finish()
    if lost:
        raise reporting.RunFailed(f"{lost} of {arguments.connections} clients were lost before they were weighed")
    return float(round((after - before) / arguments.connections))


def _readable(report: Report) -> str:
    weights, starlette = report["bytes_per_connection"], report["starlette_bytes_per_connection"]
    assert isinstance(weights, dict)
    rows: list[tuple[str, object]] = [(STAGES[name], f"{weight:g} bytes") for name, weight in weights.items()]
    if starlette is not None:
        rows.append(("a Starlette WebSocket", f"{starlette:g} bytes"))
    return summary.table(rows)
