"""The clients of the modes that run on a stack of perf's own: their options, and the plan for them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace

from perf import client_options, reporting
from perf.dialects.centrifuge import Centrifuge
from perf.own_edge import OwnEdge
from perf.own_stack import OwnStack
from perf.payload import SMALLEST
from perf.plan import Plan
from perf.refusal import Refusal
from perf.target import Target


def add_arguments(parser: argparse.ArgumentParser, connections: int, rate: float = 1000.0) -> None:
    client_options.add_clients(parser, connections, rate)
    reporting.add_arguments(parser)


def add_publishing(parser: argparse.ArgumentParser, rate: float, seconds: float, size: int = 128) -> None:
    parser.add_argument("--publish-rate", type=float, default=rate, help="publications a second in all (%(default)s)")
    parser.add_argument("--seconds", type=float, default=seconds, help="how long they are published (%(default)s)")
    parser.add_argument("--size", type=int, default=size, help="bytes of a publication's data (%(default)s)")


def check_publishing(arguments: argparse.Namespace) -> None:
    """Raises `Refusal`."""
    if arguments.size < SMALLEST:
        raise Refusal(f"--size is at least {SMALLEST} bytes: there is a stamp in each publication")
    if arguments.publish_rate < 0 or arguments.seconds <= 0:
        raise Refusal("--publish-rate is not below 0, --seconds is above 0")


def plan(
    arguments: argparse.Namespace, stack: OwnStack, edges: Sequence[OwnEdge], channel: str, rooms: int = 1
) -> Plan:
    """Clients with tokens, spread over `edges` in turn, each with a user of this run alone."""
    first, *others = [edge.port for edge in edges]
    dialect = Centrifuge(
        channel=channel, rooms=rooms, user=f"perf-{os.urandom(4).hex()}-{{i}}", token_secret=stack.token_secret
    )
    found = client_options.plan(arguments, Target("127.0.0.1", first, dialect.path), dialect)
    return replace(found, more_ports=tuple(others))
