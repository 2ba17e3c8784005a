"""How long the clients of a killed edge stay in presence: N edges are killed with -9, one by one, each with members.

A client on another edge observes. For each kill two times are measured from the signal: until presence has no member of
the killed edge any more (it is asked again and again), and until the observer has received the last leave. 5 s are
promised for both. All edges are perf's own, started beside the running stack (make up) on the same NATS. Exit code 1 if
a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time

import msgspec

from perf import runner
from perf.errors import Refusal
from perf.load.dialects.centrifuge import connection_token
from perf.load.json_client import JsonClient, connected
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge, running_edge
from perf.settings import PerfSettings
from proto import codes

PROMISED_S = 5.0
WATCH_S = 15.0
"""How long a ghost is watched before it counts as permanent."""

_POLL_S = 0.01


class Kill(msgspec.Struct):
    """Seconds until presence was clean, and until the last leave was received; None for never."""

    presence_s: float | None
    last_leave_s: float | None
    leaves: int

    def __str__(self) -> str:
        return f"presence clean after {_seconds(self.presence_s)}, last leave after {_seconds(self.last_leave_s)}"

    def is_broken(self, members: int) -> bool:
        times = (self.presence_s, self.last_leave_s)
        return any(seconds is None or seconds > PROMISED_S for seconds in times) or self.leaves != members


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.3f} s"


class GhostFigures(Figures):
    """`broken` is the number of kills after which a promise was broken."""

    kills: int
    members: int
    presence_clean_s: Distribution
    last_leave_s: Distribution
    longest_ghost_s: float
    broken: int
    each: list[Kill]

    @classmethod
    def of(cls, kills: list[Kill], members: int) -> GhostFigures:
        presence = [kill.presence_s for kill in kills if kill.presence_s is not None]
        leaves = [kill.last_leave_s for kill in kills if kill.last_leave_s is not None]
        return cls(
            kills=len(kills),
            members=members,
            presence_clean_s=distribution(presence),
            last_leave_s=distribution(leaves),
            longest_ghost_s=round(max([*presence, *leaves], default=0.0), 3),
            broken=sum(kill.is_broken(members) for kill in kills),
            each=kills,
        )

    def table(self) -> str:
        broken = [f"{self.broken} broke the promise of {PROMISED_S:g} s"] if self.broken else []
        return tables.text(
            [
                ("edges killed", f"{self.kills}, with {self.members} members each"),
                ("presence is clean", self.presence_clean_s.in_ms() + " ms after the kill"),
                ("last leave received", self.last_leave_s.in_ms() + " ms after the kill"),
                ("longest ghost", f"{self.longest_ghost_s} s"),
                ("verdict", tables.verdict(broken)),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=20, help="edges to kill (%(default)s)")
    parser.add_argument("--members", type=int, default=20, help="clients on each (%(default)s)")
    parser.add_argument("--channel", default="chat:ghosts-{run}", help="with presence and join_leave (%(default)s)")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not settings.token_secret:
        raise Refusal("tokens need a secret: set FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY, or start the stack (make up)")
    if not 0 < arguments.kills <= 200 or not 0 < arguments.members <= 500:
        raise Refusal("--kills is 1 to 200, --members 1 to 500")

    async def measure(arguments: argparse.Namespace, shown: Bar) -> GhostFigures:
        return await _measure(arguments, settings, shown)

    figures = await runner.measured(arguments, 30.0 * arguments.kills + 30.0, measure, 0)
    return int(figures is None or bool(figures.broken))


async def _measure(arguments: argparse.Namespace, settings: PerfSettings, shown: Bar) -> GhostFigures:
    channel = arguments.channel.replace("{run}", os.urandom(4).hex())
    kills: list[Kill] = []
    async with running_edge(settings.environ, None) as survivor:
        await survivor.ready()
        async with connected(_url(survivor), _token(settings, "observer")) as observer:
            await _subscribe(observer, channel)
            for number in range(arguments.kills):
                shown.phase(f"kill {number + 1}")
                kills.append(await _kill_one(settings, observer, channel, arguments.members))
                print(f"kill {number + 1} of {arguments.kills}: {kills[-1]}", file=sys.stderr)
    return GhostFigures.of(kills, arguments.members)


async def _kill_one(settings: PerfSettings, observer: JsonClient, channel: str, members: int) -> Kill:
    async with running_edge(settings.environ, None) as victim, contextlib.AsyncExitStack() as stack:
        await victim.ready()
        for number in range(members):
            member = await stack.enter_async_context(connected(_url(victim), _token(settings, f"ghost-{number}")))
            await _subscribe(member, channel)
        if await _present(observer, channel) != members + 1:
            raise Refusal("presence does not hold all members before the kill: there is nothing to measure")
        observer.pushes.clear()
        victim.kill()
        killed_at = time.monotonic()
        presence_s, last_leave_s = await asyncio.gather(
            _until_clean(observer, channel, killed_at), _until_left(observer, members, killed_at)
        )
        return Kill(presence_s, last_leave_s, _leaves(observer))


async def _until_clean(observer: JsonClient, channel: str, killed_at: float) -> float | None:
    while time.monotonic() < killed_at + WATCH_S:
        if await _present(observer, channel) == 1:
            return time.monotonic() - killed_at
        await asyncio.sleep(_POLL_S)
    return None


async def _until_left(observer: JsonClient, members: int, killed_at: float) -> float | None:
    while time.monotonic() < killed_at + WATCH_S:
        if _leaves(observer) >= members:
            return max(at for at, push in observer.pushes if "leave" in push) - killed_at
        await asyncio.sleep(_POLL_S)
    return None


def _leaves(observer: JsonClient) -> int:
    return sum("leave" in push for _, push in observer.pushes)


async def _subscribe(client: JsonClient, channel: str) -> None:
    reply = await client.command(subscribe={"channel": channel})
    if "error" in reply:
        raise Refusal(f"{channel} cannot be subscribed: {reply['error']}")


async def _present(client: JsonClient, channel: str) -> int | None:
    """How many members presence has; None if an edge did not answer in time, so that there may be a ghost."""
    reply = await client.command(presence={"channel": channel})
    if "error" not in reply:
        return len(reply["presence"].get("presence", {}))
    if reply["error"]["code"] == codes.INTERNAL.code:
        return None
    raise Refusal(f"presence of {channel} is refused: {reply['error']}; --channel needs a namespace with presence")


def _url(edge: OwnEdge) -> str:
    return f"ws://127.0.0.1:{edge.port}/connection/websocket"


def _token(settings: PerfSettings, user: str) -> str:
    return connection_token(user, settings.token_secret, int(time.time()) + 3600)
