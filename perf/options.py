"""The options that modes share, and the plan for the clients that they make. One place, so that modes agree."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace

from perf import runner
from perf.errors import Refusal
from perf.load import target
from perf.load.dialects import Dialect
from perf.load.dialects.centrifuge import PATH, Centrifuge
from perf.load.pacing import Schedule
from perf.load.payload import SMALLEST
from perf.load.plan import Plan
from perf.load.target import Target
from perf.report import machine
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack
from perf.settings import PerfSettings


def add_stack_clients(parser: argparse.ArgumentParser, connections: int, rate: float) -> None:
    """For a mode whose clients connect to a stack that somebody else configured."""
    _add_clients(parser, connections, rate, "--rate")
    parser.add_argument("--channel", default="", help="each subscribes to it; {i} is its number: perf:{i}")
    parser.add_argument(
        "--token-secret", help="HS256 secret (otherwise FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY or .fairlead/secrets.env)"
    )
    runner.add_arguments(parser)


def add_own_clients(parser: argparse.ArgumentParser, connections: int, rate: float = 1000.0) -> None:
    """For a mode whose clients connect to servers of perf's own."""
    _add_clients(parser, connections, rate, "--connect-rate")
    runner.add_arguments(parser)


def add_publishing(parser: argparse.ArgumentParser, rate: float, seconds: float, size: int = 128) -> None:
    parser.add_argument("--publish-rate", type=float, default=rate, help="publications a second in all (%(default)s)")
    parser.add_argument("--seconds", type=float, default=seconds, help="how long they are published (%(default)s)")
    parser.add_argument("--size", type=int, default=size, help="bytes of a publication's data (%(default)s)")


def check_publishing(arguments: argparse.Namespace) -> None:
    """Raises `Refusal` for options of publishing that make no sense."""
    if arguments.size < SMALLEST:
        raise Refusal(f"--size is at least {SMALLEST} bytes: there is a stamp in each publication")
    if arguments.publish_rate < 0 or arguments.seconds <= 0:
        raise Refusal("--publish-rate is not below 0, --seconds is above 0")


def dialect(arguments: argparse.Namespace, settings: PerfSettings, path: str = PATH) -> Centrifuge:
    return Centrifuge(
        channel=arguments.channel, path=path, token_secret=arguments.token_secret or settings.token_secret
    )


def plan(arguments: argparse.Namespace, at: Target, dialect: Dialect) -> Plan:
    """Raises `Refusal` for options with which the run cannot succeed."""
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


def own_plan(
    arguments: argparse.Namespace, stack: OwnStack, edges: Sequence[OwnEdge], channel: str, rooms: int = 1
) -> Plan:
    """Clients with tokens, spread over `edges` in turn, each with its own user, who exists only in this run."""
    first, *others = [edge.port for edge in edges]
    dialect = Centrifuge(
        channel=channel, rooms=rooms, user=f"perf-{os.urandom(4).hex()}-{{i}}", token_secret=stack.token_secret
    )
    return replace(plan(arguments, Target("127.0.0.1", first, dialect.path), dialect), more_ports=tuple(others))


def expected_s(arguments: argparse.Namespace, hold_s: float) -> float:
    """A bound on the whole run."""
    return float(arguments.connections / arguments.rate + arguments.connect_timeout + hold_s + 60)


def _add_clients(parser: argparse.ArgumentParser, connections: int, rate: float, rate_option: str) -> None:
    parser.add_argument("--connections", type=int, default=connections, help="how many (default %(default)s)")
    parser.add_argument(
        rate_option, type=float, dest="rate", default=rate, help="connections a second, open loop (%(default)s)"
    )
    parser.add_argument("--processes", type=int, default=2, help="client processes (%(default)s)")
    parser.add_argument("--connect-timeout", type=float, default=10.0, help="seconds for one connect (%(default)s)")
    parser.add_argument("--source-spread", type=int, default=1, help="addresses of 127.77.0.0/16 to connect from")
