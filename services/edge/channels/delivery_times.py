"""How long publications take from their publisher to the sockets of this edge. Pure: the clock is the broker's.

One observation for each publication and edge, once it is written to its last subscriber here: no work is done for each
recipient. A publication that had to be read from the log, because its live message was missed, counts with all the time
that this took. Publications that clients recover, or catch up with, do not count: those clients were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from services.chassis.metrics.histogram import Exemplar, Histogram, LabelledHistogram
from services.chassis.metrics.series import FAST_S


class Deliveries(Protocol):
    """Is called when publications of one namespace are written to all subscribers here."""

    def written(self, published_at: Sequence[float]) -> None:
        """Publications that were accepted at these times (see `LiveMessage.published_at`) are written."""

    def traced(self, published_at: float, trace_id: str) -> None:
        """One of the publications that were just written, accepted at this time, is part of this trace."""


class NotMeasured:
    """For publications whose deliveries are not measured."""

    def written(self, published_at: Sequence[float]) -> None:
        """Does nothing."""

    def traced(self, published_at: float, trace_id: str) -> None:
        """Does nothing."""


NOT_MEASURED = NotMeasured()


class NamespaceDeliveries:
    """Observes the deliveries of one namespace, in seconds. `now` is the broker's clock."""

    __slots__ = ("_histogram", "_now", "_written_at")

    def __init__(self, histogram: Histogram, now: Callable[[], float]) -> None:
        self._histogram = histogram
        self._now = now
        self._written_at = 0.0

    def written(self, published_at: Sequence[float]) -> None:
        """Observes the time since each of these. As clocks agree only to within an error, negative times count as 0."""
        now = self._written_at = self._now()
        for at in published_at:
            if at:
                self._histogram.observe(max(0.0, now - at))

    def traced(self, published_at: float, trace_id: str) -> None:
        """Names the trace as an exemplar of the bucket that its publication counts in."""
        if published_at:
            now = self._written_at
            self._histogram.attach(Exemplar(max(0.0, now - published_at), trace_id, now))


class DeliveryTimes:
    """The histograms of all namespaces."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._by_namespace: dict[str, NamespaceDeliveries] = {}
        self.histograms = LabelledHistogram(FAST_S)

    def of(self, namespace: str) -> NamespaceDeliveries:
        """The deliveries of a namespace, made at the first call."""
        found = self._by_namespace.get(namespace)
        if found is None:
            found = NamespaceDeliveries(self.histograms.of(namespace), self._now)
            self._by_namespace[namespace] = found
        return found
