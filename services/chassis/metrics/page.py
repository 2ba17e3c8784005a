"""What one scrape gets: the series of a catalogue with their values at this moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as ShownExemplar
from prometheus_client.utils import floatToGoString

from services.chassis.metrics.histogram import Histogram, LabelledHistogram
from services.chassis.metrics.series import Catalog, Series


def _family(series: Series) -> Metric:
    match series.kind:
        case "gauge":
            return GaugeMetricFamily(series.name, series.meaning, labels=series.labels)
        case "counter":
            return CounterMetricFamily(series.name, series.meaning, labels=series.labels)
        case "histogram":
            return HistogramMetricFamily(series.name, series.meaning, labels=series.labels)


class Page:
    """Takes the values of one scrape. Raises KeyError for a name, and ValueError for labels, that the catalogue
    lacks."""

    def __init__(self, series: Catalog) -> None:
        self._series = series
        self._families = {name: _family(one) for name, one in series.items()}

    def put(self, name: str, value: float, *labels: str) -> None:
        """Adds a value of a gauge or counter, with the values of its labels in their order."""
        series = self._series[name]
        shown = name + "_total" if series.kind == "counter" else name
        self._families[name].add_sample(shown, dict(zip(series.labels, labels, strict=True)), value)

    def put_histogram(self, name: str, histogram: Histogram, *labels: str) -> None:
        """Adds the buckets, the count and the sum of a histogram."""
        series, family = self._series[name], self._families[name]
        named = dict(zip(series.labels, labels, strict=True))
        upto = 0
        for bound, upto, exemplar in histogram.buckets():
            shown = exemplar and ShownExemplar({"trace_id": exemplar.trace_id}, exemplar.value, exemplar.at)
            le = floatToGoString(bound)  # type: ignore[no-untyped-call]  # prometheus-client leaves it without types
            family.add_sample(name + "_bucket", named | {"le": le}, upto, exemplar=shown)
        family.add_sample(name + "_count", named, upto)
        family.add_sample(name + "_sum", named, histogram.sum)

    def put_histograms(self, name: str, histograms: LabelledHistogram) -> None:
        """Adds the histograms of all values of its labels."""
        for labels, histogram in histograms.by_label.items():
            self.put_histogram(name, histogram, *labels)

    def families(self) -> Iterator[Metric]:
        """All series, including those without a value, so that names and meanings do not come and go."""
        yield from self._families.values()


class PageCollector(Collector):
    """Has `fill` put the values of `series` on a page at each scrape."""

    def __init__(self, series: Catalog, fill: Callable[[Page], None]) -> None:
        self._series = series
        self._fill = fill

    def collect(self) -> Iterator[Metric]:
        """All series, with values."""
        page = Page(self._series)
        self._fill(page)
        yield from page.families()

    def describe(self) -> Iterator[Metric]:
        """All series, without values."""
        yield from Page(self._series).families()
