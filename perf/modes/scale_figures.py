"""What `scale` has measured: a step for each size, its table in Markdown, and its charts."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from perf.modes.hold import HoldFigures
from perf.report import tables
from perf.report.figures import Figures

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


class Step(Figures):
    """`asked` connections on `edges` edges and as many client processes."""

    FLAT = ("held",)

    asked: int
    edges: int
    source_addresses: int
    held: HoldFigures


class ScaleFigures(Figures):
    """`failures` are the reasons why a step, by its number of connections, has no figures."""

    steps: list[Step]
    failures: dict[str, str]

    def to_json(self) -> dict[str, object]:
        return {"steps": [step.to_json() for step in self.steps], "failures": self.failures}

    def table(self) -> str:
        """In Markdown, a line for each step."""
        return table(self.steps)


def row(step: Step) -> dict[str, float | None]:
    """A step as a line of the table, by the names of COLUMNS. `to_all_ms` is the median of the shots."""
    held, costs = step.held, step.held.costs
    slowest = [shot.age_s.max for shot in held.shots if shot.age_s.max is not None]
    return {
        "connections": held.connections,
        "edges": step.edges,
        "failed": held.failed,
        "lost": held.lost,
        "pings_for_each": held.pings_for_each,
        "rss": costs.edge_rss_bytes_for_each_connection,
        "heap": costs.edge_heap_bytes_for_each_connection,
        "kernel": costs.kernel_bytes_for_each_connection,
        "connect_us": costs.edge_cpu_us_for_each_connect,
        "held_us": costs.edge_cpu_us_for_each_connection_and_second,
        "to_all_ms": round(statistics.median(slowest) * 1000) if slowest else None,
        "deliveries_lost": held.deliveries_lost,
        "busy_connecting": held.machine_busy_connecting,
        "busy_holding": held.machine_busy_holding,
    }


def table(steps: Sequence[Step]) -> str:
    rows = [["-" if value is None else f"{value:,}" for value in row(step).values()] for step in steps]
    return tables.markdown(list(COLUMNS.values()), rows)


def draw(folder: Path, steps: Sequence[Step]) -> None:
    """Writes the charts, each over the number of connections. Says so on stderr if matplotlib is not installed."""
    try:
        from perf.report import charts  # matplotlib is a dependency of development only
    except ImportError:
        print("perf: no charts: matplotlib is not installed (make install)", file=sys.stderr)
        return
    rows = [row(step) for step in steps]

    def lines(file: str, title: str, note: str, **names: str) -> None:
        series = {
            name: [(x, y) for one in rows if (x := one["connections"]) and (y := one[column]) is not None]
            for column, name in names.items()
        }
        if any(series.values()):
            charts.draw_lines(folder / file, title, note, series)

    lines(
        "bytes.png",
        "Memory for one connection (bytes)",
        "over the number of connections; the kernel's part holds both ends, the client's too",
        rss="edge, RSS",
        kernel="kernel",
    )
    lines("cpu-connect.png", "Edge CPU to connect one client (us)", "over the number of connections", connect_us="us")
    lines("cpu-held.png", "Edge CPU to hold one client for a second (us)", "its pings are in it", held_us="us")
    lines("to-all.png", "A publication to all clients (ms)", "from its due time to the last one", to_all_ms="ms")
