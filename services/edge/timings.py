"""How long things take on an edge, and how large they are: histograms that its hot paths fill."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.chassis.metrics.histogram import Histogram, LabelledHistogram
from services.chassis.metrics.series import FAST_S, LONG_S, SIZES


def _fast() -> LabelledHistogram:
    return LabelledHistogram(FAST_S)


@dataclass(slots=True)
class Timings:
    """Times are in seconds. Each is the series `fairlead_edge_<name>`, except for the last one."""

    # From the connect command to its reply, by transport and client library.
    connect_seconds: LabelledHistogram = field(default_factory=_fast)
    # From the decision to its outcome, by namespace; 0 if there is nothing to wait for.
    subscribe_seconds: LabelledHistogram = field(default_factory=_fast)
    # Reading what a subscriber missed, by namespace; 0 from the ring.
    recovery_seconds: LabelledHistogram = field(default_factory=_fast)
    # Publications in one recovery, by namespace.
    recovery_publications: LabelledHistogram = field(default_factory=lambda: LabelledHistogram(SIZES))
    # Calls of the server API, by method.
    api_call_seconds: LabelledHistogram = field(default_factory=_fast)
    # Until a backend answered, by its name and the call.
    backend_seconds: LabelledHistogram = field(default_factory=_fast)
    connection_duration_seconds: Histogram = field(default_factory=lambda: Histogram(LONG_S))  # of those that ended
