"""The series that every process has: its resource usage, the lag of its event loop, the state of its connection to
NATS."""

from __future__ import annotations

from typing import Final, Protocol

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector
from prometheus_client.registry import Collector

from services.chassis.metrics.loop_lag import LoopLag
from services.chassis.metrics.page import Page, PageCollector
from services.chassis.metrics.series import FAST_S, catalog, counter, gauge, histogram
from services.chassis.process.resources import OwnProcess

PROCESS_SERIES: Final = catalog(
    gauge("process_virtual_memory_bytes", "bytes", "Virtual memory size in bytes."),
    gauge("process_resident_memory_bytes", "bytes", "Resident memory size in bytes."),
    gauge("process_start_time_seconds", "seconds", "Start time of the process since unix epoch in seconds."),
    gauge("process_open_fds", "descriptors", "Number of open file descriptors."),
    gauge("process_max_fds", "descriptors", "Maximum number of open file descriptors."),
    counter("process_cpu_seconds", "seconds", "Total user and system CPU time spent in seconds."),
    gauge(
        "fairlead_process_info",
        "1",
        "Always 1. The labels say which service this is, its configured name, the id of this run, and its version.",
        "service",
        "name",
        "uid",
        "version",
    ),
    gauge(
        "fairlead_process_config_last_reload_successful",
        "bool",
        "0 if the last reload was refused, so that the process runs with other settings than its configuration has; "
        "otherwise 1, even before the first reload.",
    ),
    gauge(
        "fairlead_process_config_last_reload_success_timestamp_seconds",
        "seconds",
        "When settings were last applied, by a reload or at the start, since unix epoch in seconds.",
    ),
    histogram(
        "fairlead_process_loop_lag_seconds",
        "seconds",
        FAST_S,
        "Lateness of a timer of 50 ms: how long the event loop was busy with something else.",
    ),
    gauge(
        "fairlead_process_loop_lag_max_seconds",
        "seconds",
        "The largest lateness of the last 30 to 60 s. Reading does not reset it, so a lost scrape hides nothing.",
    ),
    gauge("fairlead_process_nats_connected", "bool", "1 while there is a connection to NATS, otherwise 0."),
    counter("fairlead_process_nats_disconnects", "disconnects", "Connections to NATS that dropped."),
    counter(
        "fairlead_process_nats_permission_violations",
        "violations",
        "Publishes and subscriptions that NATS did not permit this process.",
    ),
    gauge("fairlead_process_spans_waiting", "spans", "Spans of traces that wait to be sent; 0 without tracing."),
    counter("fairlead_process_spans_sent", "spans", "Spans that the receiver (`tracing.endpoint`) accepted."),
    counter("fairlead_process_spans_dropped", "spans", "Spans dropped as the queue was full (`tracing.queue_size`)."),
    counter("fairlead_process_spans_failed", "spans", "Spans that could not be sent."),
)


class NatsFigures(Protocol):
    """What a connection to NATS reports about itself."""

    @property
    def is_connected(self) -> bool: ...
    @property
    def disconnects(self) -> int: ...
    @property
    def permission_violations(self) -> int: ...


class ReloadFigures(Protocol):
    """What a process reports about its last reload."""

    successful: bool
    succeeded_at: float


class SpanFigures(Protocol):
    """What the queue of spans reports about itself."""

    sent: int
    dropped: int
    failed: int

    def __len__(self) -> int: ...


class ProcessMetrics:
    """This process, which is `name` of `service`; `instance` is new at each start, as in its heartbeats.

    `nats` is None without NATS, `spans` without tracing.
    """

    def __init__(
        self,
        service: str,
        name: str,
        instance: str,
        version: str,
        loop_lag: LoopLag,
        reloads: ReloadFigures,
        nats: NatsFigures | None,
        spans: SpanFigures | None = None,
    ) -> None:
        self._identity = (service, name, instance, version)
        self._loop_lag = loop_lag
        self._reloads = reloads
        self._nats = nats
        self._spans = spans
        self._process = OwnProcess()

    def fill(self, page: Page) -> None:
        """Puts the values of `PROCESS_SERIES`."""
        usage = self._process.usage()
        page.put("process_virtual_memory_bytes", usage.virtual_bytes)
        page.put("process_resident_memory_bytes", usage.rss_bytes)
        page.put("process_start_time_seconds", self._process.started_at)
        page.put("process_open_fds", usage.open_fds)
        page.put("process_max_fds", usage.max_fds)
        page.put("process_cpu_seconds", usage.cpu_s)
        page.put("fairlead_process_info", 1, *self._identity)
        page.put("fairlead_process_config_last_reload_successful", self._reloads.successful)
        page.put("fairlead_process_config_last_reload_success_timestamp_seconds", self._reloads.succeeded_at)
        page.put_histogram("fairlead_process_loop_lag_seconds", self._loop_lag.histogram)
        page.put("fairlead_process_loop_lag_max_seconds", self._loop_lag.recent())
        if self._nats is not None:
            page.put("fairlead_process_nats_connected", self._nats.is_connected)
            page.put("fairlead_process_nats_disconnects", self._nats.disconnects)
            page.put("fairlead_process_nats_permission_violations", self._nats.permission_violations)
        spans = self._spans
        page.put("fairlead_process_spans_waiting", 0 if spans is None else len(spans))
        page.put("fairlead_process_spans_sent", 0 if spans is None else spans.sent)
        page.put("fairlead_process_spans_dropped", 0 if spans is None else spans.dropped)
        page.put("fairlead_process_spans_failed", 0 if spans is None else spans.failed)

    def registry(self, *collectors: Collector) -> CollectorRegistry:
        """A registry with these series, those of `collectors`, and prometheus-client's own series about Python and its
        garbage collection."""
        registry = CollectorRegistry()
        for each in (PlatformCollector, GCCollector):
            each(registry=registry)
        for one in (PageCollector(PROCESS_SERIES, self.fill), *collectors):
            registry.register(one)
        return registry
