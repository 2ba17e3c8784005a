"""Fairlead and other systems side by side: each in a process tree of its own, on the same cores, one after the other.

Each is started, connected to at a steady rate and in a burst, published through, and stopped under its clients; then
the next one; --repeats times, each time in another order. Prints tables; --results FOLDER writes them with the raw
figures and charts. What the other systems need is put into .perf/ by --install. Exit code 1 when one could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from perf import machine, summary
from perf.child import ChildDied
from perf.contenders import foreign, installation, table
from perf.contenders.contender import Contender, Unavailable
from perf.contenders.fairlead import FAIRLEAD
from perf.contenders.figures import Trial
from perf.contenders.others import OTHERS
from perf.contenders.paced_publisher import PublishFailed
from perf.contenders.process_tree import ProcessTree
from perf.contenders.rotation import rotated
from perf.contenders.trial import QUICK, Bench, Size
from perf.refusal import Refusal
from perf.settings import PerfSettings

TRIAL_WITHIN_S = 150.0
"""What hangs longer than this has failed, and the next one gets its turn."""

Failures = dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = Size()
    names = ", ".join(one.name for one in (*FAIRLEAD, *OTHERS))
    parser.add_argument("--install", action="store_true", help="put what the others need into .perf/, and end")
    parser.add_argument("--only", metavar="A,B", help=f"some of {names}, and names of --target (default: all)")
    parser.add_argument("--repeats", type=int, help="how often each is run (3; 1 with --quick)")
    parser.add_argument("--connections", type=int, help=f"({default.connections}; {QUICK.connections} with --quick)")
    parser.add_argument("--rate", type=float, help=f"steady connects a second ({default.rate:g})")
    parser.add_argument("--quick", action="store_true", help="so small that it only shows that everything works")
    parser.add_argument("--share-cores", action="store_true", help="servers and clients on all cores (default: halves)")
    parser.add_argument("--target", action="append", default=[], metavar="NAME=WS://...", help="one that runs already")
    parser.add_argument("--target-api-key", default="", help="for its /api/publish (default: clients publish)")
    parser.add_argument("--target-channel", default="compare:{name}", help="(%(default)s)")
    parser.add_argument("--token-secret", default="", help="HS256 secret of the targets (default: no tokens)")
    parser.add_argument("--results", metavar="FOLDER", help="write tables, charts and raw figures there")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures there")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if arguments.install:
        return _install()
    chosen, size = _chosen(arguments), _size(arguments)
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    if lacking := _lacking(chosen):
        print("perf: " + "\nperf: ".join(lacking), file=sys.stderr)
        return 1
    servers, clients = _cores(arguments.share_cores)
    report: dict[str, object] = {
        "command": machine.command(arguments.command_line),
        "machine": machine.machine(),
        "versions": machine.versions() | installation.versions(),
        "cores": {"servers": sorted(servers), "clients": sorted(clients)},
        "size": asdict(size),
        "contenders": {one.name: [one.title, one.for_each_client, one.for_each_message] for one in chosen},
    }
    os.sched_setaffinity(0, clients)  # those that it starts inherit it
    trials, failures = await _trials(chosen, repeats, size, servers, clients)
    report |= {
        "trials": [asdict(trial) for trial in trials],
        "medians": {one.name: table.medians(trials, one.name) for one in chosen},
        "original_to_stack": table.times_slower(trials, "channels", "fairlead-stack"),
        "failures": failures,
    }
    text = table.markdown(trials, {one.name: one.title for one in chosen})
    print(text)
    if report["original_to_stack"]:
        print(f"\np99 connect, Django Channels : Fairlead behind Traefik: {report['original_to_stack']}")
    if arguments.json:
        summary.write(Path(arguments.json), report)
    if arguments.results:
        _write(Path(arguments.results), report, text, trials, chosen)
    for name, why in failures.items():
        print(f"perf: {name} has failed: {why}", file=sys.stderr)
    return int(bool(failures))


async def _trials(
    chosen: Sequence[Contender], repeats: int, size: Size, servers: Collection[int], clients: Collection[int]
) -> tuple[list[Trial], Failures]:
    trials, failures = [], Failures()
    for repeat, order in enumerate(rotated(chosen, repeats), 1):
        for contender in order:
            trial = Trial(contender.name, repeat)
            began = time.monotonic()
            try:
                async with asyncio.timeout(TRIAL_WITHIN_S):
                    await _one(contender, trial, size, servers, clients)
            except TimeoutError:
                failures[contender.name] = f"it took longer than {TRIAL_WITHIN_S:.0f} s"
            except (Unavailable, ChildDied, PublishFailed, OSError) as error:
                failures[contender.name] = str(error)
            else:
                trials.append(trial)
            spent = time.monotonic() - began
            print(f"repeat {repeat} of {repeats}: {contender.name}, {spent:.0f} s", file=sys.stderr)
    return trials, failures


async def _one(
    contender: Contender, trial: Trial, size: Size, servers: Collection[int], clients: Collection[int]
) -> None:
    """Prepares outside of what is measured, then starts, measures and stops it."""
    with tempfile.TemporaryDirectory(prefix="fairlead-compare-") as name:
        folder = Path(name)
        launch = await asyncio.to_thread(contender.launch, folder, len(servers))
        with ProcessTree(launch.programs, folder, servers, os.environ, launch.adopted) as tree:
            seconds = await asyncio.to_thread(tree.wait_until, launch.ready)
            trial.start_s = seconds if launch.programs else None
            weighed = tree if launch.programs or launch.adopted else None
            bench = Bench(launch, weighed, size, len(clients), len(servers))
            await bench.measure(trial)
            await bench.stop(trial)


def _chosen(arguments: argparse.Namespace) -> list[Contender]:
    targets = [
        foreign.contender(named, arguments.token_secret, arguments.target_api_key, arguments.target_channel)
        for named in arguments.target
    ]
    known = {one.name: one for one in (*FAIRLEAD, *OTHERS, *targets)}
    if not arguments.only:
        return list(known.values())
    wanted = arguments.only.split(",")
    if unknown := [name for name in wanted if name not in known]:
        raise Refusal(f"--only: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]


def _size(arguments: argparse.Namespace) -> Size:
    size = QUICK if arguments.quick else Size()
    size = size.changed(arguments.connections, arguments.rate)
    machine.nofile()
    return size


def _lacking(chosen: Sequence[Contender]) -> list[str]:
    """What is asked for and not there, before minutes were spent on the others."""
    found = []
    for contender in chosen:
        for part in contender.needs:
            try:
                installation.require(part)
            except Unavailable as why:
                found.append(f"{contender.name}: {why}")
    return found


def _install() -> int:
    try:
        installation.install(installation.PARTS, print)
    except Unavailable as why:
        print(f"perf: {why}", file=sys.stderr)
        return 1
    return 0


def _cores(shared: bool) -> tuple[set[int], set[int]]:
    """Those of the servers and those of the clients. Halves, so that neither takes from the other what is measured."""
    cores = sorted(os.sched_getaffinity(0))
    if shared or len(cores) < 2:
        return set(cores), set(cores)
    half = len(cores) // 2
    return set(cores[:half]), set(cores[half:])


def _write(
    folder: Path, report: dict[str, object], text: str, trials: Sequence[Trial], chosen: Sequence[Contender]
) -> None:
    summary.write(folder / "compare.json", report)
    (folder / "table.md").write_text(text + "\n")
    try:
        from perf import charts  # matplotlib belongs to those who develop
    except ImportError:
        print("perf: no charts: matplotlib is not installed (make install)", file=sys.stderr)
        return
    charts.draw(folder, trials, {one.name: one.title for one in chosen})
