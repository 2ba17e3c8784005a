"""Clients that take no part in the load on an edge, and a steady stream that they receive."""

from __future__ import annotations

from dataclasses import replace

from perf.load.dialects.centrifuge import Centrifuge
from perf.load.pacing import Schedule
from perf.load.plan import Plan
from perf.load.publisher import Publishing
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack

CHANNEL = "live:bystanders"
RATE = 100.0
"""Publications a second, in a channel without history: what is missed is lost."""


def bystanders_of(plan: Plan, edge: OwnEdge, count: int) -> Plan:
    """Clients beside those of `plan`, on this edge. The numbers of what they receive are followed."""
    assert isinstance(plan.dialect, Centrifuge)
    dialect = Centrifuge(channel=CHANNEL, user="bystander-{i}", token_secret=plan.dialect.token_secret)
    return replace(
        plan,
        port=edge.port,
        more_ports=(),
        dialect=dialect,
        schedule=Schedule(count, 200.0),
        sample_every=1,
        ordered=True,
        reconnect_port=0,
        reconnect_when_told=False,
    )


def steady_stream(stack: OwnStack, seconds: float) -> Publishing:
    """What they receive, for at most `seconds` seconds."""
    return Publishing(stack.past_the_api(), (CHANNEL,), Schedule(round(RATE * seconds), RATE))
