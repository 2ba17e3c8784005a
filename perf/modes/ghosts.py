"""How long the clients of a killed edge stay: N edges are killed with -9, one by one, with members in a channel.

A witness on another edge watches. For each kill two times count from the signal: until presence holds nobody of the
killed edge any more (asked over and over), and until the witness was told of the last leave. Promised are 5 s for both.
All edges are perf's own, started beside the running stack (make up) on the same NATS. Exit code 1 when a promise was
broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from perf import machine, own_edge, summary
from perf.own_edge import OwnEdge
from perf.refusal import Refusal
from perf.settings import PerfSettings
from perf.talker import Talker, talking
from perf.tokens import connection_token
from proto import codes

PROMISED_S = 5.0
WATCH_S = 15.0
"""How long a ghost is watched before the run counts it as one that stays."""

_POLL_S = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=20, help="edges to kill (%(default)s)")
    parser.add_argument("--members", type=int, default=20, help="clients on each (%(default)s)")
    parser.add_argument("--channel", default="chat:ghosts-{run}", help="with presence and join_leave (%(default)s)")
    parser.add_argument("--deadline", type=float, help="seconds for the whole run (default: 30 for each kill)")
    parser.add_argument("--json", metavar="FILE", help="write the report there too")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not settings.token_secret:
        raise Refusal("tokens need a secret: set FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY, or start the stack (make up)")
    if not 0 < arguments.kills <= 200 or not 0 < arguments.members <= 500:
        raise Refusal("--kills is 1 to 200, --members 1 to 500")
    channel = arguments.channel.replace("{run}", os.urandom(4).hex())
    rounds: list[Round] = []
    try:
        async with asyncio.timeout(arguments.deadline or 30.0 * arguments.kills + 30.0):
            async with own_edge.running(settings.environ, None) as survivor:
                await survivor.ready()
                async with talking(_url(survivor), _token(settings, "witness")) as witness:
                    await _enter(witness, channel)
                    for number in range(arguments.kills):
                        rounds.append(await _kill_one(settings, witness, channel, arguments.members))
                        print(f"kill {number + 1} of {arguments.kills}: {rounds[-1]}", file=sys.stderr)
    except TimeoutError:
        print("perf: no figures: the run took longer than its --deadline", file=sys.stderr)
        return 1
    report = _report(arguments, rounds)
    print(_readable(report, rounds))
    if arguments.json:
        summary.write(Path(arguments.json), report)
    return int(any(each.broken for each in rounds))


class Round:
    """One kill: seconds until presence was clean, and until the last leave was told; None for never."""

    def __init__(self, presence_s: float | None, leaves_s: float | None, leaves: int, members: int) -> None:
        self.presence_s = presence_s
        self.leaves_s = leaves_s
        self.leaves = leaves
        self.members = members

    def __str__(self) -> str:
        return f"presence clean after {_seconds(self.presence_s)}, last leave told after {_seconds(self.leaves_s)}"

    @property
    def broken(self) -> bool:
        times = (self.presence_s, self.leaves_s)
        return any(seconds is None or seconds > PROMISED_S for seconds in times) or self.leaves != self.members


async def _kill_one(settings: PerfSettings, witness: Talker, channel: str, members: int) -> Round:
    async with own_edge.running(settings.environ, None) as victim, contextlib.AsyncExitStack() as stack:
        await victim.ready()
        for number in range(members):
            talker = await stack.enter_async_context(talking(_url(victim), _token(settings, f"ghost-{number}")))
            await _enter(talker, channel)
        if await _present(witness, channel) != members + 1:
            raise Refusal("presence does not hold all members before the kill: there is nothing to measure")
        witness.pushes.clear()
        victim.kill()
        killed_at = time.monotonic()
        presence_s, leaves_s = await asyncio.gather(
            _until_clean(witness, channel, killed_at), _until_left(witness, members, killed_at)
        )
        return Round(presence_s, leaves_s, _leaves(witness), members)


async def _until_clean(witness: Talker, channel: str, killed_at: float) -> float | None:
    while time.monotonic() < killed_at + WATCH_S:
        if await _present(witness, channel) == 1:
            return time.monotonic() - killed_at
        await asyncio.sleep(_POLL_S)
    return None


async def _until_left(witness: Talker, members: int, killed_at: float) -> float | None:
    while time.monotonic() < killed_at + WATCH_S:
        if _leaves(witness) >= members:
            return max(at for at, push in witness.pushes if "leave" in push) - killed_at
        await asyncio.sleep(_POLL_S)
    return None


def _leaves(witness: Talker) -> int:
    return sum("leave" in push for _, push in witness.pushes)


async def _enter(talker: Talker, channel: str) -> None:
    answer = await talker.ask(subscribe={"channel": channel})
    if "error" in answer:
        raise Refusal(f"{channel} cannot be subscribed: {answer['error']}")


async def _present(talker: Talker, channel: str) -> int | None:
    """How many are in presence; None when an edge did not answer in time, so that a ghost may be there."""
    answer = await talker.ask(presence={"channel": channel})
    if "error" not in answer:
        return len(answer["presence"].get("presence", {}))
    if answer["error"]["code"] == codes.INTERNAL.code:
        return None
    raise Refusal(f"presence of {channel} is refused: {answer['error']}; --channel wants a namespace with presence")


def _url(edge: OwnEdge) -> str:
    return f"ws://127.0.0.1:{edge.port}/connection/websocket"


def _token(settings: PerfSettings, user: str) -> str:
    return connection_token(user, settings.token_secret, int(time.time()) + 3600)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.3f} s"


def _report(arguments: argparse.Namespace, rounds: list[Round]) -> dict[str, object]:
    presence = [each.presence_s for each in rounds if each.presence_s is not None]
    leaves = [each.leaves_s for each in rounds if each.leaves_s is not None]
    return {
        "command": machine.command(arguments.command_line),
        "machine": machine.machine(),
        "versions": machine.versions(),
        "kills": len(rounds),
        "members": arguments.members,
        "presence_clean_s": summary.distribution(presence),
        "last_leave_s": summary.distribution(leaves),
        "longest_ghost_s": round(max([*presence, *leaves], default=0.0), 3),
        "broken": sum(each.broken for each in rounds),
        "each": [
            {"presence_s": each.presence_s, "last_leave_s": each.leaves_s, "leaves": each.leaves} for each in rounds
        ],
    }


def _readable(report: dict[str, object], rounds: list[Round]) -> str:
    presence, leaves = report["presence_clean_s"], report["last_leave_s"]
    assert isinstance(presence, dict) and isinstance(leaves, dict)
    kept = "every promise kept" if not report["broken"] else f"{report['broken']} broke the promise of {PROMISED_S:g} s"
    return summary.table(
        [
            ("edges killed", f"{len(rounds)}, with {report['members']} members each"),
            ("presence is clean", summary.milliseconds(presence) + " ms after the kill"),
            ("last leave is told", summary.milliseconds(leaves) + " ms after the kill"),
            ("longest ghost", f"{report['longest_ghost_s']} s"),
            ("verdict", kept),
        ]
    )
