"""Clients and edges over time, one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from perf.report.charts import OTHERS, OURS


class Sample(NamedTuple):
    """One moment: seconds from the start, connections, edges by state, how many are recommended (None: unknown), and
    the messages that the clients have received."""

    at_s: float
    connections: int
    ready: int
    draining: int
    recommended: int | None
    messages: int


def draw(path: Path, samples: Sequence[Sample]) -> Path:
    """Writes the chart as PNG."""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    minutes = [sample.at_s / 60 for sample in samples]
    above.plot(minutes, [sample.connections for sample in samples], color=OTHERS)
    above.set_title("Connections", loc="left", fontsize=11, fontweight="bold")
    below.step(minutes, [sample.ready for sample in samples], where="post", color=OURS, label="ready")
    below.step(
        minutes, [sample.draining for sample in samples], where="post", color="#0f766e", linewidth=1, label="draining"
    )
    known = [(sample.at_s / 60, sample.recommended) for sample in samples if sample.recommended is not None]
    below.step(
        [at for at, _ in known],
        [edges for _, edges in known],
        where="post",
        color="black",
        linestyle="--",
        linewidth=1,
        label="recommended",
    )
    below.set_title("Edges", loc="left", fontsize=11, fontweight="bold")
    below.legend(frameon=False, fontsize=8, loc="lower center", ncols=3)
    below.set_xlabel("minutes", fontsize=8, color="#475569")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        axes.margins(x=0, y=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.yaxis.set_major_formatter("{x:,.0f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
