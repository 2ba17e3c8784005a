"""How the cost of a connection changes with their number: `hold` at several sizes, one after the other.

Each step has a NATS, edges and client processes of its own, as many as the limit of descriptors needs, and client
addresses of 127.77.0.0/16. The clients connect at a steady rate, subscribe to one channel, are held and pinged, and get
--shots publications, each when the one before has reached everybody. --results FOLDER writes scale.json, table.md and
charts. Exit code 1 when a client did not connect or was lost, or a delivery is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from perf import machine, reporting, summary, target
from perf.child import ChildDied
from perf.modes import hold
from perf.progress_bar import Bar
from perf.refusal import Refusal
from perf.reporting import Report, RunFailed
from perf.settings import PerfSettings

SPARE_DESCRIPTORS = 500
"""What an edge, or a process of clients, has left when its share of the connections is open."""

CLIENTS_OF_AN_ADDRESS = 2_000
"""An address has 28,000 ports; finding a free one among few that are taken costs nothing."""

BETWEEN_STEPS_S = 3.0
"""Sockets of the step before are torn down by the kernel, which is not to be charged to the next one."""

COLUMNS = {
    "connections": "connections",
    "edges": "edges = client processes",
    "failed": "did not connect",
    "lost": "lost",
    "pings_for_each": "pings answered by each",
    "rss": "edge RSS, bytes each",
    "heap": "edge heap (PSS), bytes each",
    "kernel": "kernel, both ends, bytes each",
    "connect_us": "edge CPU, us to connect",
    "held_us": "edge CPU, us a second held",
    "to_all_ms": "publication to all, ms",
    "deliveries_lost": "deliveries missing",
    "busy_connecting": "machine busy, connecting",
    "busy_holding": "machine busy, held",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", default="5000,20000,50000,100000", metavar="N,N", help="(%(default)s)")
    parser.add_argument("--connect-rate", type=float, dest="rate", default=1000.0, help="a second (%(default)s)")
    parser.add_argument("--connect-timeout", type=float, default=20.0, help="seconds for one connect (%(default)s)")
    parser.add_argument("--fill", type=int, help="connections for each process (default: the limit of descriptors)")
    hold.add_holding(parser, hold_s=30.0, ping_interval_s=25.0, shots=3)
    parser.add_argument("--results", metavar="FOLDER", help="write the figures, a table and charts there")
    reporting.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    steps = planned(arguments, machine.nofile(), machine.ephemeral_ports())
    expected_s = sum(hold.expected_s(step) + BETWEEN_STEPS_S for step in steps) + 10

    async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
        await _climb(steps, arguments.results, shown, report)

    most = max(step.connections for step in steps)
    report = await reporting.reported(arguments, expected_s, measure, _readable, most)
    if report is None:
        return 1
    figures, failures = report["steps"], report["failures"]
    assert isinstance(figures, list) and isinstance(failures, dict)
    for step, why in failures.items():
        print(f"perf: no figures for {step}: {why}", file=sys.stderr)
    return int(bool(failures) or any(map(hold.went_wrong, figures)))


def planned(arguments: argparse.Namespace, descriptors: int, ports_per_source: int) -> list[argparse.Namespace]:
    """The options of `hold` for each step. Raises `Refusal` for what cannot be run."""
    try:
        sizes = [int(size) for size in arguments.steps.split(",")]
    except ValueError:
        raise Refusal(f"--steps {arguments.steps}: expected numbers, such as 5000,20000") from None
    if arguments.rate <= 0 or arguments.connect_timeout <= 0:
        raise Refusal("--connect-rate and --connect-timeout are above 0")
    fill = arguments.fill or descriptors - SPARE_DESCRIPTORS
    if not 0 < fill <= descriptors - SPARE_DESCRIPTORS:
        raise Refusal(f"--fill: a process may open {descriptors} descriptors, {SPARE_DESCRIPTORS} of them are spared")
    steps = []
    for size in sizes:
        processes = max(1, math.ceil(size / fill))
        spread = max(1, math.ceil(size / CLIENTS_OF_AN_ADDRESS))
        target.check_limits("127.0.0.1", size, processes, spread, descriptors, ports_per_source)
        steps.append(
            argparse.Namespace(
                connections=size,
                rate=arguments.rate,
                connect_timeout=arguments.connect_timeout,
                processes=processes,
                edges=processes,
                source_spread=spread,
                hold=arguments.hold,
                ping_interval=arguments.ping_interval,
                shots=arguments.shots,
                broadcast=0.0,
                own_channels=False,
            )
        )
        hold.check(steps[-1])
    return steps


async def _climb(steps: Sequence[argparse.Namespace], results: str | None, shown: Bar, report: Report) -> None:
    """A step that fails does not take the others' figures with it; what there is, is written after each."""
    figures: list[Report] = []
    failures: dict[str, str] = {}
    report.update(steps=figures, failures=failures)
    for step in steps:
        one: Report = {"asked": step.connections, "edges": step.edges, "source_addresses": step.source_spread}
        try:
            async with asyncio.timeout(hold.expected_s(step)):
                await hold.measure(step, shown, one)
        except TimeoutError:
            failures[str(step.connections)] = f"it took longer than {hold.expected_s(step):.0f} s"
        except (RunFailed, ChildDied, OSError) as error:
            failures[str(step.connections)] = str(error)
        else:
            figures.append(one)
        if results:
            _write(Path(results), report, figures)
        await asyncio.sleep(BETWEEN_STEPS_S)


def row(step: Mapping[str, object]) -> dict[str, float | None]:
    """One step as a line of the table, by the names of COLUMNS. `to_all_ms` is the median of the shots."""
    shots = step["shots"]
    assert isinstance(shots, list)
    slowest = [shot["age_s"]["max"] for shot in shots if shot["age_s"]["max"] is not None]
    taken: dict[str, object] = {
        "rss": step["edge_rss_bytes_for_each_connection"],
        "heap": step["edge_heap_bytes_for_each_connection"],
        "kernel": step["kernel_bytes_for_each_connection"],
        "connect_us": step["edge_cpu_us_for_each_connect"],
        "held_us": step["edge_cpu_us_for_each_connection_and_second"],
        "to_all_ms": round(statistics.median(slowest) * 1000) if slowest else None,
        "busy_connecting": step["machine_busy_connecting"],
        "busy_holding": step["machine_busy_holding"],
    }
    found = {name: taken.get(name, step.get(name)) for name in COLUMNS}
    return {name: value for name, value in found.items() if value is None or isinstance(value, int | float)}


def table(figures: Sequence[Mapping[str, object]]) -> str:
    """Markdown, a line for each step."""
    rows = [["-" if value is None else f"{value:,}" for value in row(step).values()] for step in figures]
    return summary.markdown(list(COLUMNS.values()), rows)


def _readable(report: Report) -> str:
    figures = report["steps"]
    assert isinstance(figures, list)
    return table(figures)


def _write(folder: Path, report: Report, figures: Sequence[Report]) -> None:
    summary.write(folder / "scale.json", report)
    (folder / "table.md").write_text(table(figures) + "\n")
    try:
        from perf import charts  # matplotlib belongs to those who develop
    except ImportError:
        print("perf: no charts: matplotlib is not installed (make install)", file=sys.stderr)
        return
    rows = [row(step) for step in figures]

    def draw(file: str, title: str, note: str, **lines: str) -> None:
        series = {
            title: [(x, y) for one in rows if (x := one["connections"]) and (y := one[column]) is not None]
            for column, title in lines.items()
        }
        if any(series.values()):
            charts.draw_lines(folder / file, title, note, series)

    draw(
        "bytes.png",
        "Memory for one connection (bytes)",
        "over the number of connections; the kernel's part holds both ends, the client's too",
        rss="edge, RSS",
        kernel="kernel",
    )
    draw("cpu-connect.png", "Edge CPU to connect one client (us)", "over the number of connections", connect_us="us")
    draw("cpu-held.png", "Edge CPU to hold one client for a second (us)", "its pings are in it", held_us="us")
    draw("to-all.png", "A publication to all clients (ms)", "from its due time to the last one", to_all_ms="ms")
