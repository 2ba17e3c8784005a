"""Draws the dashboards from a running Prometheus, as PNG: `python -m deploy.observe.draw --out FOLDER`.

For use without Grafana: the same queries, in the same places. matplotlib is a dependency of development only.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from deploy.observe.boards.board import Board, Panel, Unit
from deploy.observe.dashboards import BOARDS

_COLUMNS = 3
_POINTS = 240
_CURVES = 12
"""How many curves one picture shows; more could not be told apart."""


@dataclass(frozen=True)
class Source:
    """A Prometheus, and the time range that is drawn, in Unix seconds."""

    address: str
    begin: float
    end: float

    def curves(self, query: str) -> list[dict[str, Any]]:
        """The same as Grafana would get: the labels and values of each curve. Raises OSError if the query is
        refused."""
        step = max(5.0, (self.end - self.begin) / _POINTS)
        expr = query.replace("$w", f"{max(30, 4 * step):.0f}s").replace("$edge", ".*")
        parameters = {"query": expr, "start": self.begin, "end": self.end, "step": f"{step:.0f}"}
        url = f"{self.address}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found = json.load(answer)["data"]["result"]
        assert isinstance(found, list)
        return found


def draw(board: Board, source: Source, path: Path) -> None:
    """Writes the picture of one dashboard."""
    rows = -(-len(board.panels) // _COLUMNS)
    figure = Figure(figsize=(18, 3.4 * rows + 0.6), layout="constrained")
    figure.suptitle(board.title, fontsize=16)
    for index, panel in enumerate(board.panels):
        _panel(figure.add_subplot(rows, _COLUMNS, index + 1), panel, source)
    figure.savefig(path, dpi=80)


def _panel(axes: Axes, panel: Panel, source: Source) -> None:
    axes.set_title(panel.title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _shown(value, panel.unit)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: time.strftime("%H:%M:%S", time.gmtime(at))))
    axes.tick_params(labelsize=8)
    axes.set_xlim(source.begin, source.end)
    drawn = 0
    for legend, query in panel.queries.items():
        for curve in source.curves(query)[: _CURVES - drawn]:
            times, values = zip(*((float(at), float(value)) for at, value in curve["values"]), strict=True)
            axes.plot(times, values, label=_legend(legend or panel.title, curve["metric"]), linewidth=1.2)
            drawn += 1
    if drawn:
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=7, loc="upper left")
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="red")


def _legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), pattern)


def _shown(value: float, unit: Unit) -> str:
    match unit:
        case "percentunit":
            return f"{value * 100:g} %"
        case "s":
            return f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"
        case "bytes" | "Bps":
            for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
                if value >= size:
                    return f"{value / size:g} {name}"
            return f"{value:g} B"
        case "short" | "ops":
            return f"{value:g}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.observe.draw", description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="ADDRESS")
    parser.add_argument("--minutes", type=float, default=15.0, help="how much of the past (15)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    now = time.time()
    source = Source(arguments.prometheus, now - arguments.minutes * 60, now)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        path = arguments.out / f"{board.name}.png"
        draw(board, source, path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
