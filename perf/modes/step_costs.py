"""What one edge spends on each step: accepting a client, a publication of a client, a delivery of a fan-out.

For modes that compare two edges in turn: their CPU microseconds for each step, and the medians of the ratios.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from perf import options
from perf.load import delivery
from perf.load.pacing import Schedule
from perf.load.plan import ClientPublishing
from perf.modes import accept, chat, fanout
from perf.report.distribution import median_ratio
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack

STEPS: Final = {"accept": "a client taken", "publish": "a publication of a client", "fanout": "a delivery"}


CpuByRound = Mapping[str, Mapping[str, list[float]]]
"""CPU microseconds by step, then by which of the two edges it was, round after round."""


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options for clients, publications and rounds."""
    options.add_own_clients(parser, connections=1000)
    options.add_publishing(parser, rate=1000, seconds=4)
    parser.add_argument("--window", type=int, default=4, help="unanswered publications of the fan-out (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the median counts (%(default)s)")


def in_turn(rounds: int, one: str, other: str) -> Iterator[str]:
    """Both in each round, the order changing from round to round."""
    for number in range(rounds):
        yield from (one, other) if number % 2 == 0 else (other, one)


def rows(cpu_us: CpuByRound, ratio: Mapping[str, float], one: str, other: str) -> list[tuple[str, str]]:
    """A row of a table for each step: the figures of both, and the ratio."""

    def listed(step: str, name: str) -> str:
        return f"{'  '.join(map(str, cpu_us[step][name]))} us {name}"

    return [
        (what, f"{listed(step, one)}, {listed(step, other)}: {ratio[step]} times that") for step, what in STEPS.items()
    ]


def ratios(cpu_us: CpuByRound, one: str, other: str) -> dict[str, float]:
    """The ratio of `one` to `other`, by step."""
    return {step: median_ratio(by_name[one], by_name[other]) for step, by_name in cpu_us.items()}


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
