"""What one client that attacks an edge costs a bystander: ping round trips, refused connects, memory, descriptors.

Each attack runs for --seconds against a fresh edge, with a second edge on the same NATS that watches whether the first
one is alive. The attacks are in perf/load/attacks.py; each is one client, or --sockets of them, that sends as fast as
the edge reads. The first line of the table is without an attack. --url attacks the running stack instead; only what
clients see is then reported. Exit code 1 if a ping took longer than --bound (without the time in which edge and
bystander waited for a core, which a busy machine adds), a connect was not answered within 1 s, the other edge
considered the attacked one lost, or descriptors stayed open.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time

import msgspec

from deploy.processes.ports import HOST
from perf import runner
from perf.errors import Refusal
from perf.load import frames, target
from perf.load.attacks import Attackers, AttackProcess, Damage, attacks
from perf.load.bystander import Bystander
from perf.load.dialects.centrifuge import PATH, connection_token
from perf.load.target import Target
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings

NONE = "none"
WARM_UP_S = 1.0
CALM_WITHIN_S = 15.0
"""How long an edge may take to close the connections that an attack left behind."""

_SETTINGS = {"client_compression": "true", "client_transports": "websocket,http_stream"}
_POLL_S = 0.1


class Outcome(msgspec.Struct, kw_only=True):
    """The outcome of one attack. `connects` were tried, `refused` are those that failed, by cause. `own_ping_s` leaves
    out the time for which edge or bystander had to wait for a core."""

    attack: str
    sent_bytes: int
    attacking_connections: int
    ping_s: Distribution
    own_ping_s: Distribution
    connects: int
    connect_s: Distribution
    refused: dict[str, int]
    bystander_lost: bool
    taken_for_lost: int
    edge_cpu_s: float | None
    rss_bytes: tuple[int, int] | None
    descriptors: tuple[int, int] | None
    broken_promises: list[str]

    def row(self) -> list[object]:
        refused = sum(self.refused.values())
        rss = None if self.rss_bytes is None else (round(self.rss_bytes[0] / 1e6), round(self.rss_bytes[1] / 1e6))
        return [
            self.attack,
            _ms(self.ping_s.p50),
            _ms(self.ping_s.max),
            _ms(self.own_ping_s.max),
            f"{refused} of {self.connects}",
            _ms(self.connect_s.max),
            self.taken_for_lost,
            _change(rss),
            _change(self.descriptors),
            f"{self.sent_bytes / 1e6:.1f}",
        ]


def _change(figures: tuple[int, int] | None) -> str:
    return "-" if figures is None else f"{figures[0]} to {figures[1]}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


class AttackFigures(Figures):
    """`bound_s` is how long a ping of the bystander may take."""

    seconds: float
    sockets: int
    bound_s: float
    outcomes: list[Outcome]

    def table(self) -> str:
        head = ["attack", "ping p50, ms", "worst ping, ms", "on a free core", "connects refused", "worst connect, ms"]
        head += ["taken for lost", "RSS, MB", "descriptors", "sent, MB"]
        broken = [f"{one.attack}: {'; '.join(one.broken_promises)}" for one in self.outcomes if one.broken_promises]
        return f"{tables.markdown(head, [one.row() for one in self.outcomes])}\n\n{tables.verdict(broken)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each attack lasts (%(default)s)")
    parser.add_argument("--sockets", type=int, default=1, help="attacking connections at once (%(default)s)")
    parser.add_argument("--bound", type=float, default=0.05, help="seconds that a ping may take (%(default)s)")
    parser.add_argument(
        "--url", help="attack what runs there, such as the running stack behind Traefik (default: an edge of its own)"
    )
    parser.add_argument("--only", default="", help="attacks whose names contain this")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if arguments.seconds <= 0 or arguments.sockets < 1:
        raise Refusal("--seconds is above 0, and --sockets at least 1")
    if not _chosen(arguments.only):
        raise Refusal(f"--only {arguments.only}: there is no attack of that name")
    expected_s = len(_chosen(arguments.only)) * (2 * arguments.seconds + CALM_WITHIN_S + 30) + 60
    if arguments.url:
        at, secret = target.parse(arguments.url), settings.token_secret

        async def measure_running(arguments: argparse.Namespace, shown: Bar) -> AttackFigures:
            outcomes = []
            for name in _chosen(arguments.only):
                shown.phase(name)
                outcomes.append(await _attacked_there(at, secret, name, arguments))
            return _figures(arguments, outcomes)

        figures = await runner.measured(arguments, expected_s, measure_running, 0)
    else:
        figures = await runner.measured(arguments, expected_s, measure, 0)
    return int(figures is None or any(one.broken_promises for one in figures.outcomes))


def _chosen(only: str) -> list[str]:
    return [attack.name for attack in attacks(HOST, 0) if only in attack.name]


async def measure(arguments: argparse.Namespace, shown: Bar) -> AttackFigures:
    outcomes = []
    async with running_stack() as stack, stack.edge() as onlooker:
        for name in _chosen(arguments.only):
            shown.phase(name)
            outcomes.append(await _attacked(stack, onlooker, name, arguments))
    return _figures(arguments, outcomes)


def _figures(arguments: argparse.Namespace, outcomes: list[Outcome]) -> AttackFigures:
    return AttackFigures(
        seconds=arguments.seconds, sockets=arguments.sockets, bound_s=arguments.bound, outcomes=outcomes
    )


async def _attacked_there(at: Target, secret: str, name: str, arguments: argparse.Namespace) -> Outcome:
    """Attacks a stack that perf has not started, so that only what clients see is known."""
    token, hello = _greeting(secret)
    bystander = Bystander(f"ws://{target.authority(at.host, at.port)}{at.path}", token)
    async with AttackProcess(Attackers(name, at.host, at.port, arguments.sockets, hello)) as attack:
        attack.begin()
        await bystander.watch(arguments.seconds)
        damage = await attack.end(10.0)
    outcome = _outcome(name, bystander, damage)
    outcome.broken_promises = broken_promises(outcome, arguments.bound)
    return outcome


def _greeting(secret: str) -> tuple[str, bytes]:
    """A token, and a connect command with it as a frame."""
    token = connection_token("perf-bystander", secret, int(time.time()) + 3600)
    return token, frames.frame(frames.TEXT, msgspec.json.encode({"id": 1, "connect": {"token": token}}))


def _outcome(name: str, bystander: Bystander, damage: Damage) -> Outcome:
    return Outcome(
        attack=name,
        sent_bytes=damage.sent_bytes,
        attacking_connections=damage.connections,
        ping_s=distribution(bystander.ping_s),
        own_ping_s=distribution(bystander.own_ping_s),
        connects=len(bystander.connect_s) + sum(bystander.refused.values()),
        connect_s=distribution(bystander.connect_s),
        refused=dict(bystander.refused),
        bystander_lost=bystander.lost,
        taken_for_lost=0,
        edge_cpu_s=None,
        rss_bytes=None,
        descriptors=None,
        broken_promises=[],
    )


async def _attacked(stack: OwnStack, onlooker: OwnEdge, name: str, arguments: argparse.Namespace) -> Outcome:
    token, hello = _greeting(stack.token_secret)
    async with stack.edge(**_SETTINGS) as edge:
        url = f"ws://{HOST}:{edge.port}{PATH}"
        await Bystander(url, token).watch(WARM_UP_S)
        rss_before, cpu_before = edge.usage()
        descriptors_before = edge.descriptors()  # its clients have left: the bystander closes its connections properly
        bystander = Bystander(url, token, [edge.pid, os.getpid()])
        async with AttackProcess(Attackers(name, HOST, edge.port, arguments.sockets, hello)) as attack:
            attack.begin()
            await bystander.watch(arguments.seconds)
            _, cpu_after = edge.usage()
            damage = await attack.end(10.0)
        await _calm(edge, descriptors_before)
        rss_after, _ = edge.usage()
        outcome = _outcome(name, bystander, damage)
        outcome.taken_for_lost = onlooker.times_lost(edge.name)
        outcome.edge_cpu_s = round(cpu_after - cpu_before, 3)
        outcome.rss_bytes = (rss_before, rss_after)
        outcome.descriptors = (descriptors_before, edge.descriptors())
    outcome.broken_promises = broken_promises(outcome, arguments.bound)
    return outcome


async def _calm(edge: OwnEdge, descriptors: int) -> None:
    """Waits until the edge has no more than these descriptors, or for `CALM_WITHIN_S`."""
    deadline = time.monotonic() + CALM_WITHIN_S
    while edge.descriptors() > descriptors and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)


def broken_promises(outcome: Outcome, bound_s: float) -> list[str]:
    """The broken promises, in words; empty if all were kept."""
    broken = []
    if outcome.own_ping_s.max is None or outcome.own_ping_s.max > bound_s:
        broken.append(f"a ping took {_ms(outcome.own_ping_s.max)} ms")
    if outcome.bystander_lost:
        broken.append("the bystander was disconnected")
    if outcome.refused:
        broken.append(f"connects failed: {tables.causes(outcome.refused)}")
    if outcome.taken_for_lost:
        broken.append("the other edge took it for lost")
    if outcome.descriptors is not None and outcome.descriptors[1] > outcome.descriptors[0]:
        broken.append(f"{outcome.descriptors[1] - outcome.descriptors[0]} descriptors stayed open")
    return broken
