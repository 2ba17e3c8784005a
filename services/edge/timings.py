"""How long things take on an edge, and how large they are: histograms that its hot paths fill."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.chassis.metrics.histogram import Histogram, LabelledHistogram
from services.chassis.metrics.series import FAST_S, LONG_S, SIZES


def _fast() -> Histogram:
    return Histogram(FAST_S)


def _fast_by_label() -> LabelledHistogram:
    return LabelledHistogram(FAST_S)


@dataclass(slots=True)
class Timings:
    """Times are in seconds. Each is the series `fairlead_edge_<name>`, but for the last one."""

    connect_seconds: Histogram = field(default_factory=_fast)  # from the connect command to its reply
    subscribe_seconds: Histogram = field(default_factory=_fast)  # from the decision to its outcome
    recovery_seconds: Histogram = field(default_factory=_fast)  # reading what a subscriber missed; 0 from the ring
    api_call_seconds: LabelledHistogram = field(default_factory=_fast_by_label)  # of the server API, by method
    backend_seconds: LabelledHistogram = field(default_factory=_fast_by_label)  # until a backend answered, by call
    recovery_publications: Histogram = field(default_factory=lambda: Histogram(SIZES))  # in one recovery
    connection_duration_seconds: Histogram = field(default_factory=lambda: Histogram(LONG_S))  # of those that ended
