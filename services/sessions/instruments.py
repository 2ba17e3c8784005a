"""The Prometheus series of the sessions service. No label contains a user, a session or a channel."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector

from services.chassis.process.resources import OwnProcess, ProcessCollector


class Instruments:
    """All series of one process, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        registry.register(ProcessCollector(OwnProcess()))
        PlatformCollector(registry=registry)
        self.events = Counter("fairlead_sessions_events_applied", "Facts folded into PostgreSQL.", registry=registry)
        self.duplicates = Counter(
            "fairlead_sessions_duplicate_batches",
            "Batches skipped because they were applied before.",
            registry=registry,
        )
        self.unknown = Counter(
            "fairlead_sessions_unknown_facts", "Facts about connections without a known opening.", registry=registry
        )
        self.rejected = Counter(
            "fairlead_sessions_rejected_messages",
            "Messages of the log that are not batches of facts.",
            registry=registry,
        )
        self.resumed = Counter(
            "fairlead_sessions_resumed", "Sessions continued on a new connection.", registry=registry
        )
        self.edges_lost = Counter("fairlead_sessions_edge_lost", "Edges lost without a drain.", registry=registry)
        self.recreated = Counter(
            "fairlead_sessions_log_recreated", "How often the session log was found recreated.", registry=registry
        )
        self.batch_seconds = Histogram(
            "fairlead_sessions_batch_seconds",
            "Time to fold and commit one part of the log.",
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.lag_batches = Gauge(
            "fairlead_sessions_lag_batches", "Batches in the log that are not in PostgreSQL yet.", registry=registry
        )
        self.lag_seconds = Gauge(
            "fairlead_sessions_lag_seconds",
            "Age of the newest fact in PostgreSQL, 0 if no batch waits.",
            registry=registry,
        )
        self.pruned = Counter(
            "fairlead_sessions_pruned", "Ended sessions removed because of their age.", registry=registry
        )
