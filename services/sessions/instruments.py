"""The Prometheus series of the sessions service: those of `catalog`, as counters and gauges of prometheus-client."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.sessions.catalog import SESSIONS_SERIES


class Instruments:
    """All series of `catalog`, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = self._counter("fairlead_sessions_events_applied")
        self.duplicates = self._counter("fairlead_sessions_duplicate_batches")
        self.unknown = self._counter("fairlead_sessions_unknown_facts")
        self.dead_letters = self._counter("fairlead_sessions_dead_letters")
        self.unknown_types = self._counter("fairlead_sessions_unknown_types")
        self.overtaken = self._counter("fairlead_sessions_overtaken")
        self.interrupted = self._counter("fairlead_sessions_interrupted")
        self.resumed = self._counter("fairlead_sessions_resumed")
        self.edges_lost = self._counter("fairlead_sessions_edge_lost")
        self.recreated = self._counter("fairlead_sessions_log_recreated")
        self.batch_seconds = self._histogram("fairlead_sessions_batch_seconds")
        self.lag_batches = self._gauge("fairlead_sessions_lag_batches")
        self.lag_events = self._gauge("fairlead_sessions_lag_events_estimated")
        self.catch_up = self._gauge("fairlead_sessions_catch_up_seconds")
        self.projection_age = self._gauge("fairlead_sessions_projection_age_seconds")
        self.outbox_published = self._counter("fairlead_sessions_outbox_published")
        self.outbox_set_aside = self._counter("fairlead_sessions_outbox_set_aside")
        self.outbox_retries = self._counter("fairlead_sessions_outbox_retries")
        self.outbox_seconds = self._histogram("fairlead_sessions_outbox_seconds")
        self.outbox_oldest = self._gauge("fairlead_sessions_outbox_oldest_seconds")
        self.questions = self._counter("fairlead_sessions_questions")
        self.question_seconds = self._histogram("fairlead_sessions_question_seconds")
        self.followers = self._gauge("fairlead_sessions_followers")
        self.pruned = self._counter("fairlead_sessions_pruned")
        self.webhook_events = self._counter("fairlead_webhooks_events")
        self.webhook_requests = self._counter("fairlead_webhooks_requests")
        self.webhook_dead_letters = self._counter("fairlead_webhooks_dead_letters")
        self.webhook_overtaken = self._counter("fairlead_webhooks_overtaken")
        self.webhook_age = self._gauge("fairlead_webhooks_age_seconds")

    def answered(self, question: str, way: str, status: int, seconds: float) -> None:
        """A question to the read API was answered."""
        self.questions.labels(question, way, str(status)).inc()
        self.question_seconds.labels(question).observe(seconds)

    def _counter(self, name: str) -> Counter:
        series = SESSIONS_SERIES[name]
        return Counter(name, series.meaning, series.labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        series = SESSIONS_SERIES[name]
        return Gauge(name, series.meaning, series.labels, registry=self.registry)

    def _histogram(self, name: str) -> Histogram:
        series = SESSIONS_SERIES[name]
        return Histogram(name, series.meaning, series.labels, registry=self.registry, buckets=series.bounds)
