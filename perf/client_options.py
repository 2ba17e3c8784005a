"""The options that every mode with clients has, and the plan that they make. One place, so that modes agree."""

from __future__ import annotations

import argparse

from perf import machine, reporting, target
from perf.dialects import Dialect
from perf.dialects.centrifuge import PATH, Centrifuge
from perf.pacing import Schedule
from perf.plan import Plan
from perf.refusal import Refusal
from perf.settings import PerfSettings
from perf.target import Target


def add_clients(parser: argparse.ArgumentParser, connections: int, rate: float, option: str = "--connect-rate") -> None:
    """How many clients, and how they come."""
    parser.add_argument("--connections", type=int, default=connections, help="how many (default %(default)s)")
    parser.add_argument(
        option, type=float, dest="rate", default=rate, help="connections a second, open loop (%(default)s)"
    )
    parser.add_argument("--processes", type=int, default=2, help="client processes (%(default)s)")
    parser.add_argument("--connect-timeout", type=float, default=10.0, help="seconds for one connect (%(default)s)")
    parser.add_argument("--source-spread", type=int, default=1, help="addresses of 127.77.0.0/16 to connect from")


def add(parser: argparse.ArgumentParser, connections: int, rate: float) -> None:
    """All options of a mode whose clients meet a stack that somebody else configured."""
    add_clients(parser, connections, rate, "--rate")
    parser.add_argument("--channel", default="", help="each subscribes to it; {i} is its number: perf:{i}")
    parser.add_argument(
        "--token-secret", help="HS256 secret (otherwise FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY or .fairlead/secrets.env)"
    )
    reporting.add_arguments(parser)


def dialect(arguments: argparse.Namespace, settings: PerfSettings, path: str = PATH) -> Centrifuge:
    return Centrifuge(
        channel=arguments.channel, path=path, token_secret=arguments.token_secret or settings.token_secret
    )


def plan(arguments: argparse.Namespace, at: Target, dialect: Dialect) -> Plan:
    """Raises `Refusal` for what cannot be run."""
    target.check_limits(
        at.host,
        arguments.connections,
        arguments.processes,
        arguments.source_spread,
        machine.nofile(),
        machine.ephemeral_ports(),
    )
    if arguments.connect_timeout <= 0:
        raise Refusal("--connect-timeout is above 0 s")
    try:
        schedule = Schedule(arguments.connections, arguments.rate)
    except ValueError as error:
        raise Refusal(f"--rate: {error}") from None
    return Plan(
        host=at.host,
        port=at.port,
        dialect=dialect,
        schedule=schedule,
        connect_timeout_s=arguments.connect_timeout,
        source_spread=arguments.source_spread,
    )


def expected_s(arguments: argparse.Namespace, hold_s: float) -> float:
    """A bound on the whole run."""
    return float(arguments.connections / arguments.rate + arguments.connect_timeout + hold_s + 60)


def settle_within_s(plan: Plan) -> float:
    """A bound on how long it takes until every connection was made or given up: the last one's timeout, and slack."""
    return plan.schedule.due(plan.schedule.count) + plan.connect_timeout_s + 5.0


STARVED = 0.1
"""A generator whose own p99 lateness is above this share of the p99 connect time blurs what it measures."""


def starved(lateness_p99_s: float | None, connect_p99_s: float | None) -> bool:
    """Whether the generator was so late that the figures say more of it than of the server. Below 2 ms it never is:
    timers of the loop have a resolution of 1 ms."""
    if lateness_p99_s is None or connect_p99_s is None:
        return False
    return lateness_p99_s > max(0.005, STARVED * connect_p99_s)
