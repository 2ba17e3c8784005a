"""What a rising and falling load has shown about an autoscaler, and which promises were broken."""

from __future__ import annotations

from perf.report import tables
from perf.report.figures import Figures
from perf.report.scaling_chart import Sample


class AutoscaleFigures(Figures):
    """`lost` and `expected` are deliveries. `closed` counts connections that an edge closed, `back` how many of these
    reconnected. `edges_...` are ready edges: at the beginning, at most, at the end."""

    connections: int
    waves: int
    published: int
    publish_failures: dict[str, int]
    expected: int
    delivered: int
    lost: int
    repeats: int
    closed: int
    closes: dict[str, int]
    back: int
    recovered: int
    reconnect_failures: dict[str, int]
    edges_first: int
    edges_most: int
    edges_last: int
    changes: list[str]
    samples: list[Sample]
    broken_promises: list[str]

    def table(self) -> str:
        return tables.text(
            [
                ("clients", f"{self.connections} in {self.waves} waves"),
                ("edges", f"{self.edges_first} first, {self.edges_most} at most, {self.edges_last} at the end"),
                *(("", change) for change in self.changes),
                ("published", f"{self.published}, failed: {tables.causes(self.publish_failures)}"),
                ("delivered", f"{self.delivered} of {self.expected}, {self.lost} lost, {self.repeats} twice"),
                ("closed by edges", tables.causes(self.closes)),
                ("came back", f"{self.back} of {self.closed}, {self.recovered} recovered"),
                ("attempts that failed", tables.causes(self.reconnect_failures)),
                ("verdict", tables.verdict(self.broken_promises)),
            ]
        )


def broken_promises(figures: AutoscaleFigures) -> list[str]:
    """The broken promises, in words; empty if all were kept."""
    broken = []
    if figures.lost or figures.repeats:
        broken.append(f"{figures.lost} deliveries lost, {figures.repeats} made twice")
    if figures.publish_failures:
        broken.append(f"publishes failed: {tables.causes(figures.publish_failures)}")
    if figures.back != figures.closed or figures.recovered != figures.closed:
        broken.append(f"of {figures.closed} clients that were closed {figures.recovered} came back recovered")
    if figures.edges_most <= figures.edges_first:
        broken.append("no edge came")
    elif figures.edges_last >= figures.edges_most:
        broken.append("no edge left")
    return broken
