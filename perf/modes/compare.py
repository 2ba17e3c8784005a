"""Compares Fairlead and other systems: each in its own process tree, on the same cores, one after the other.

Each is started, gets connections at a steady rate and in a burst, delivers publications, and is stopped while clients
are connected; then comes the next one; --repeats times, each time in another order. Prints tables; --results FOLDER
writes them with the raw figures and charts. --install puts what the other systems need into .perf/. Exit code 1 if one
could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from deploy.processes.process import ProcessError
from deploy.processes.process_tree import ProcessTree
from perf.errors import Refusal, RunFailed
from perf.report import comparison_table, figures, machine
from perf.report.comparison import Trial
from perf.report.figures import Figures, Header
from perf.settings import PerfSettings
from perf.systems import foreign, installation
from perf.systems.fairlead import FAIRLEAD
from perf.systems.others import OTHERS
from perf.systems.rotation import rotated
from perf.systems.system import System, Unavailable
from perf.systems.trial import Bench
from perf.systems.trial_size import QUICK, Size

TRIAL_WITHIN_S = 150.0
"""A trial that hangs longer than this has failed, and the next system gets its turn."""


class Cores(msgspec.Struct):
    servers: list[int]
    clients: list[int]


class CompareFigures(Figures):
    """`contenders` has the title of each system, and says what it does for a client and for a message."""

    cores: Cores
    size: Size
    contenders: dict[str, tuple[str, str, str]]
    trials: list[Trial]
    medians: dict[str, dict[str, float | None]]
    original_to_stack: dict[str, float] | None
    failures: dict[str, str]

    @property
    def titles(self) -> dict[str, str]:
        return {name: title for name, (title, _, _) in self.contenders.items()}

    def table(self) -> str:
        return comparison_table.markdown(self.trials, self.titles)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = Size()
    names = ", ".join(one.name for one in (*FAIRLEAD, *OTHERS))
    parser.add_argument("--install", action="store_true", help="put what the others need into .perf/, and end")
    parser.add_argument("--only", metavar="A,B", help=f"some of {names}, and names of --target (default: all)")
    parser.add_argument("--repeats", type=int, help="how often each is run (3; 1 with --quick)")
    parser.add_argument("--connections", type=int, help=f"({default.connections}; {QUICK.connections} with --quick)")
    parser.add_argument("--rate", type=float, help=f"steady connects a second ({default.rate:g})")
    parser.add_argument("--quick", action="store_true", help="so small that it only checks that everything works")
    parser.add_argument("--share-cores", action="store_true", help="servers and clients on all cores (default: halves)")
    parser.add_argument("--target", action="append", default=[], metavar="NAME=WS://...", help="one that runs already")
    parser.add_argument("--target-api-key", default="", help="for the target's /api/publish (default: clients publish)")
    parser.add_argument("--target-channel", default="compare:{name}", help="(%(default)s)")
    parser.add_argument("--token-secret", default="", help="HS256 secret of the targets (default: no tokens)")
    parser.add_argument("--results", metavar="FOLDER", help="write tables, charts and raw figures there")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures there")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if arguments.install:
        return _install()
    chosen, size = _chosen(arguments), _size(arguments)
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    if missing := _missing(chosen):
        print("perf: " + "\nperf: ".join(missing), file=sys.stderr)
        return 1
    header = Header.of(arguments.command_line)
    header.versions |= installation.versions()
    servers, clients = _cores(arguments.share_cores)
    os.sched_setaffinity(0, clients)  # child processes inherit this
    trials, failures = await _trials(chosen, repeats, size, servers, clients)
    found = CompareFigures(
        cores=Cores(sorted(servers), sorted(clients)),
        size=size,
        contenders={one.name: (one.title, one.for_each_client, one.for_each_message) for one in chosen},
        trials=trials,
        medians={one.name: comparison_table.medians(trials, one.name) for one in chosen},
        original_to_stack=comparison_table.times_slower(trials, "channels", "fairlead-stack"),
        failures=failures,
    )
    print(found.table())
    if found.original_to_stack:
        print(f"\np99 connect, Django Channels : Fairlead behind Traefik: {found.original_to_stack}")
    _write(arguments, {**header.to_json(), **found.to_json()}, found)
    for name, why in failures.items():
        print(f"perf: {name} has failed: {why}", file=sys.stderr)
    return int(bool(failures))


async def _trials(
    chosen: Sequence[System], repeats: int, size: Size, servers: Collection[int], clients: Collection[int]
) -> tuple[list[Trial], dict[str, str]]:
    trials: list[Trial] = []
    failures: dict[str, str] = {}
    for repeat, order in enumerate(rotated(chosen, repeats), 1):
        for system in order:
            trial = Trial(system=system.name, repeat=repeat)
            began = time.monotonic()
            try:
                async with asyncio.timeout(TRIAL_WITHIN_S):
                    await _one(system, trial, size, servers, clients)
            except TimeoutError:
                failures[system.name] = f"it took longer than {TRIAL_WITHIN_S:.0f} s"
            except (Unavailable, ProcessError, RunFailed, OSError) as error:
                failures[system.name] = str(error)
            else:
                trials.append(trial)
            spent = time.monotonic() - began
            print(f"repeat {repeat} of {repeats}: {system.name}, {spent:.0f} s", file=sys.stderr)
    return trials, failures


async def _one(system: System, trial: Trial, size: Size, servers: Collection[int], clients: Collection[int]) -> None:
    """Prepares before anything is measured, then starts, measures and stops the system."""
    with tempfile.TemporaryDirectory(prefix="fairlead-compare-") as name:
        folder = Path(name)
        launch = await asyncio.to_thread(system.launch, folder, len(servers))
        with ProcessTree(launch.programs, folder, servers, os.environ, launch.adopted) as tree:
            seconds = await asyncio.to_thread(tree.wait_until_ready, launch.ready)
            trial.start_s = seconds if launch.programs else None
            visible = tree if launch.programs or launch.adopted else None
            bench = Bench(launch, visible, size, len(clients), len(servers))
            await bench.measure(trial)
            await bench.stop(trial)


def _chosen(arguments: argparse.Namespace) -> list[System]:
    targets = [
        foreign.system(named, arguments.token_secret, arguments.target_api_key, arguments.target_channel)
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


def _missing(chosen: Sequence[System]) -> list[str]:
    """What a chosen system needs that is not installed; checked before minutes are spent on the others."""
    found = []
    for system in chosen:
        for part in system.needs:
            try:
                installation.require(part)
            except Unavailable as why:
                found.append(f"{system.name}: {why}")
    return found


def _install() -> int:
    try:
        installation.install(installation.PARTS, print)
    except Unavailable as why:
        print(f"perf: {why}", file=sys.stderr)
        return 1
    return 0


def _cores(shared: bool) -> tuple[set[int], set[int]]:
    """The cores of the servers and of the clients: one half each, so that neither takes the other's CPU."""
    cores = sorted(os.sched_getaffinity(0))
    if shared or len(cores) < 2:
        return set(cores), set(cores)
    half = len(cores) // 2
    return set(cores[:half]), set(cores[half:])


def _write(arguments: argparse.Namespace, report: dict[str, object], found: CompareFigures) -> None:
    if arguments.json:
        figures.write(Path(arguments.json), report)
    if not arguments.results:
        return
    folder = Path(arguments.results)
    figures.write(folder / "compare.json", report)
    (folder / "table.md").write_text(found.table() + "\n")
    try:
        from perf.report import charts  # matplotlib is a dependency of development only
    except ImportError:
        print("perf: no charts: matplotlib is not installed (make install)", file=sys.stderr)
        return
    charts.draw(folder, found.trials, found.titles)
