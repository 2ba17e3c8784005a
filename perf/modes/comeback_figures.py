"""The figures of `comeback`, and the promises that were broken."""

from __future__ import annotations

import msgspec

from perf.report import recovery, tables
from perf.report.distribution import Distribution
from perf.report.figures import Figures


class Cost(msgspec.Struct):
    """The cost of delivering something to all clients: seconds until the last of them has it, and the CPU of their
    edge."""

    seconds: float
    edge_cpu_s: float

    @classmethod
    def of(cls, began_at: float, last_at: float, cpu_s: float) -> Cost:
        return cls(round(last_at - began_at, 3), round(cpu_s, 3))


class ComebackFigures(Figures):
    """`back` clients reconnected; of these `recovered` were promised that nothing is missing.

    `fan_out` is the cost of the same bytes while all listen. Bystanders are on the edge to which the others reconnect:
    delays that they see during the fan-out come from the machine, not from that edge. `log_reads` is 0 for an edge that
    does not count them.
    """

    connections: int
    channels: int
    behind: int
    size: int
    fan_out: Cost
    comeback: Cost
    back: int
    back_s: Distribution
    comeback_failures: dict[str, int]
    recovered: int
    expected: int
    delivered: int
    gaps: int
    repeats: int
    bystander_age_s: Distribution
    bystander_age_quiet_s: Distribution
    bystander_age_fan_out_s: Distribution
    bystander_missed: int
    nats_dropped_the_edge: int
    log_reads: int
    edge_rss_bytes_before: int
    edge_rss_bytes_peak: int
    edge_rss_bytes_after: int
    broken_promises: list[str]

    @property
    def cost_ratio(self) -> float:
        return self.comeback.seconds / self.fan_out.seconds if self.fan_out.seconds else 0.0

    @property
    def grown_bytes(self) -> int:
        return self.edge_rss_bytes_peak - self.edge_rss_bytes_before

    def table(self) -> str:
        sizes = (self.edge_rss_bytes_before, self.edge_rss_bytes_peak, self.edge_rss_bytes_after)
        before, peak, after = (f"{size / 1e6:.0f}" for size in sizes)
        return tables.text(
            [
                ("reconnected", f"{self.back} of {self.connections}, {self.recovered} recovered"),
                ("reply to the subscribe", self.back_s.in_ms() + " ms"),
                ("failed attempts", tables.causes(self.comeback_failures)),
                ("delivered", f"{self.delivered} of {self.expected}, {self.gaps} gaps, {self.repeats} repeats"),
                ("all have everything", f"after {self.comeback.seconds} s, {self.comeback.edge_cpu_s} s of CPU"),
                ("as a fan-out", f"{self.fan_out.seconds} s, {self.fan_out.edge_cpu_s} s of CPU"),
                ("reads of the log", self.log_reads),
                ("bystanders before", self.bystander_age_quiet_s.in_ms() + " ms"),
                ("beside the fan-out", self.bystander_age_fan_out_s.in_ms() + " ms"),
                ("bystanders meanwhile", f"{self.bystander_age_s.in_ms()} ms, {self.bystander_missed} missed"),
                ("NATS dropped the edge", f"{self.nats_dropped_the_edge} times"),
                ("edge memory", f"{before} MB, {peak} MB at most, {after} MB afterwards"),
                ("verdict", tables.verdict(self.broken_promises)),
            ]
        )


def broken_promises(
    figures: ComebackFigures, cost_bound: float, wait_bound_s: float, memory_bound_bytes: int
) -> list[str]:
    """The broken promises, in words; empty if all were kept."""
    broken = recovery.broken_promises(figures)
    if figures.cost_ratio > cost_bound:
        broken.append(f"{figures.cost_ratio:.1f} times what the fan-out took")
    waited_s = figures.bystander_age_s.p99
    if waited_s is None or waited_s > wait_bound_s:
        broken.append(f"a bystander waited {'for ever' if waited_s is None else f'{waited_s:.2f} s (p99)'}")
    if figures.bystander_missed:
        broken.append(f"bystanders missed {figures.bystander_missed}")
    if figures.nats_dropped_the_edge:
        broken.append(f"NATS dropped the edge {figures.nats_dropped_the_edge} times")
    if figures.grown_bytes > memory_bound_bytes:
        broken.append(f"the edge grew by {figures.grown_bytes / 1e6:.0f} MB")
    return broken
