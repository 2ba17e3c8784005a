"""The history of the ratios, drawn: one panel each, a point for each commit, and the median of the newest five."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from perf.report.charts import OTHERS, OURS
from perf.report.drift import WINDOW, Entry, Ratio, by_commit


def draw(path: Path, history: Sequence[Entry], machine: str, ratios: Sequence[Ratio]) -> Path:
    """Writes an SVG, which is the same for the same history. Axes begin at 0, so that a step is as high as it is."""
    with rc_context({"svg.hashsalt": "fairlead", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 2.4 * len(ratios)), layout="constrained")
        for axes, ratio in zip(figure.subplots(len(ratios), squeeze=False)[:, 0], ratios, strict=True):
            values = by_commit(history, machine, ratio.name)
            points = list(values.values())
            medians = [statistics.median(points[max(0, i - WINDOW + 1) : i + 1]) for i in range(len(points))]
            axes.plot(range(len(points)), points, "o", color=OTHERS, markersize=4, label="one commit")
            axes.plot(range(len(points)), medians, color=OURS, label=f"median of the newest {WINDOW}")
            axes.set_xticks(range(len(points)), [commit[:7] for commit in values], rotation=60, fontsize=7)
            axes.set_ylim(bottom=0, top=1.25 * max(points, default=1.0))
            better = "more" if ratio.more_is_better else "less"
            axes.set_title(f"{ratio.title} ({better} is better)", loc="left", fontsize=10, fontweight="bold")
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(axis="y", labelsize=8)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
        axes.set_xlabel(f"{machine}; since the last change that was accepted", fontsize=8, color="#475569")
        figure.savefig(path, format="svg", metadata={"Date": None})
    return path
