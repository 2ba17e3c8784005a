"""What one edge costs for each step: a client that is taken, a publication of a client, a delivery of a fan-out.

For modes that compare two edges in turn: their CPU microseconds for each step, and the medians of the ratios.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from typing import Final, NamedTuple

from perf import options
from perf.load import delivery
from perf.load.pacing import Schedule
from perf.load.plan import ClientPublishing
from perf.modes import accept, chat, fanout
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack

STEPS: Final = {"accept": "a client taken", "publish": "a publication of a client", "fanout": "a delivery"}


class StepCosts(NamedTuple):
    """CPU microseconds by step, and how many deliveries were missing."""

    cpu_us: dict[str, float]
    lost: int


async def of_steps(stack: OwnStack, edge: OwnEdge, arguments: argparse.Namespace, shown: Bar) -> StepCosts:
    """Has the edge do each step, with the clients and publications of `arguments`."""
    accepted = await _accept(stack, edge, arguments, shown)
    published, missing = await _publish(stack, edge, arguments, shown)
    delivered, more_missing = await _fan_out(stack, edge, arguments, shown)
    return StepCosts(dict(zip(STEPS, (accepted, published, delivered), strict=True)), missing + more_missing)


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Of figures by round."""
    return round(statistics.median(one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True)), 3)


async def _accept(stack: OwnStack, edge: OwnEdge, arguments: argparse.Namespace, shown: Bar) -> float:
    plan = options.own_plan(arguments, stack, [edge], "log:shared")
    return round(await accept.cpu_s_for_each(edge, plan, arguments.processes, shown) * 1e6, 1)


async def _publish(stack: OwnStack, edge: OwnEdge, arguments: argparse.Namespace, shown: Bar) -> tuple[float, int]:
    """Each client is alone in its channel: a publication is stored, answered, and delivered once."""
    plan = options.own_plan(arguments, stack, [edge], "log:own-{i}")
    schedule = Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate)
    plan = replace(plan, client_publishing=ClientPublishing(schedule, arguments.size))
    async with delivery.held(plan, arguments.processes, shown) as fleet:
        shown.phase("publishing")
        found = await chat.chat(fleet, schedule.count, 1, arguments.seconds, [edge])
        await fleet.finish()
    return round(found.cost.cpu_s / max(1, found.published.accepted) * 1e6, 1), found.lost


async def _fan_out(stack: OwnStack, edge: OwnEdge, arguments: argparse.Namespace, shown: Bar) -> tuple[float, int]:
    saturating = argparse.Namespace(**{**vars(arguments), "publish_rate": 0})
    plan = options.own_plan(arguments, stack, [edge], fanout.LOGGED)
    found = await fanout.fan_out(edge, plan, stack.api(edge), saturating, shown)
    return round(1e6 / max(found.per_cpu_s, 1e-9), 3), found.lost
