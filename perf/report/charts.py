"""The charts of a comparison (one PNG for each question, a bar for each system), and the lines of `scale`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from perf.report import comparison_table
from perf.report.comparison import Trial

OURS, OTHERS = "#c2410c", "#64748b"
LIMIT = "send-loop"
"""Not a system: drawn as a line in charts where it is a limit, left out of the others."""


@dataclass(frozen=True)
class Chart:
    file: str
    title: str
    note: str
    column: str
    form: str
    logarithmic: bool = False
    limit: bool = False
    more_is_better: bool = False


CHARTS = (
    Chart(
        "connect-p99.png",
        "Connect time, p99, at a steady rate (ms)",
        "less is better; logarithmic",
        "steady_p99",
        "{:,.1f}",
        True,
    ),
    Chart(
        "connect-cpu.png", "CPU for one connection (ms)", "whole process tree; less is better", "connect_cpu", "{:.2f}"
    ),
    Chart(
        "memory.png",
        "Memory for one idle connection (KB)",
        "whole process tree, PSS; less is better",
        "connection_kb",
        "{:.1f}",
    ),
    Chart(
        "fanout.png",
        "Deliveries a second for one second of CPU",
        "1,000 subscribers, 128 bytes; more is better",
        "fanout_cpu",
        "{:,.0f}",
        limit=True,
        more_is_better=True,
    ),
    Chart(
        "latency.png",
        "Publish to delivery, p99 (ms)",
        "5,000 connections held; less is better; logarithmic",
        "latency_p99",
        "{:.1f}",
        True,
    ),
)


def draw(folder: Path, trials: Sequence[Trial], titles: Mapping[str, str]) -> list[Path]:
    """Writes all charts that there are figures for; returns their files."""
    values = {name: comparison_table.medians(trials, name) for name in titles}
    written = []
    for chart in CHARTS:
        bars = {n: v for n in titles if n != LIMIT and (v := values[n][chart.column]) is not None}
        if bars:
            limit = values[LIMIT][chart.column] if chart.limit and LIMIT in values else None
            written.append(_draw(folder / chart.file, chart, bars, titles, limit))
    return written


def _draw(path: Path, chart: Chart, bars: Mapping[str, float], titles: Mapping[str, str], limit: float | None) -> Path:
    names = sorted(bars, key=lambda name: bars[name], reverse=not chart.more_is_better)  # the best one on top
    figure = Figure(figsize=(8, 0.5 * len(names) + 1.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    colours = [OURS if name.startswith("fairlead") else OTHERS for name in names]
    drawn = axes.barh([titles[name] for name in names], [bars[name] for name in names], color=colours, height=0.65)
    axes.bar_label(drawn, [chart.form.format(bars[name]) for name in names], padding=4, fontsize=9)
    if chart.logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(left=10 ** math.floor(math.log10(min(bars.values()))))
    if limit is not None:
        axes.axvline(limit, color="black", linestyle="--", linewidth=1)
        axes.annotate(
            f"one send() a frame, in C: {chart.form.format(limit)}",
            (limit, 1.01),
            xycoords=("data", "axes fraction"),
            ha="right",
            fontsize=8,
        )
    axes.margins(x=0.15)
    axes.set_title(chart.title, loc="left", fontsize=11, fontweight="bold", pad=16)
    axes.set_xlabel(chart.note, fontsize=8, color="#475569")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(labelsize=9, left=False)
    axes.tick_params(axis="x", which="both", bottom=False, labelbottom=False)  # each bar has its figure
    figure.savefig(path)
    return path


def draw_lines(path: Path, title: str, note: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> Path:
    """A line for each of `series`, through its (x, y) in order of x. Both axes begin at 0, so that slopes are true."""
    figure = Figure(figsize=(8, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for colour, (name, points) in zip(itertools.cycle((OURS, OTHERS, "#0f766e")), series.items(), strict=False):
        ordered = sorted(points)
        axes.plot([x for x, _ in ordered], [y for _, y in ordered], marker="o", color=colour, label=name)
        for x, y in ordered:
            axes.annotate(
                f"{y:,.0f}" if y >= 100 else f"{y:.3g}",
                (x, y),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.margins(x=0.08, y=0.15)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=16)
    axes.set_xlabel(note, fontsize=8, color="#475569")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    figure.savefig(path)
    return path
