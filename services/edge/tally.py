"""The counters of an edge's hot paths: plain integers, which `instruments` reads when Prometheus asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Final

from services.edge.timings import Timings

UPGRADE_CAUSES: Final = (
    "origin",
    "limits.connects",
    "limits.connections",
    "limits.address_connects",
    "limits.address_connections",
    "unready",
    "draining",
    "memory",
    "no_room",
    "bad_request",
    "unsupported_version",
    "not_offered",
    "too_large",
    "timeout",
)
"""Why clients are refused before they have a connection: all causes that `Tally.refused_upgrade` counts."""


@dataclass(slots=True)
class Tally:
    """Counts since the start of the process. They only grow."""

    accepted: int = 0  # connections upgraded
    messages_in: int = 0  # commands received
    messages_out: int = 0  # pushes and replies written
    bytes_out: int = 0  # bytes of frames written
    publishes: int = 0  # publications acknowledged
    log_reads: int = 0  # reads of a channel's log, for clients that recover or catch up
    log_parts_shared: int = 0  # parts of a log that a client got after they had been read for another one
    broker_losses: int = 0  # connections to the broker that dropped
    recovered_publications: int = 0  # publications in the replies to subscribes that recovered
    shed: int = 0  # clients closed because memory was short
    waits: int = 0  # times that a client had to wait, as it sent more than one turn of the event loop allows
    fan_out_dropped: int = 0  # publications without history that an edge had no room for, each once
    left_out: int = 0  # publications that a client did not get because its encoding cannot carry them, for each client
    api_turned_away: int = 0  # calls of the server API that were refused because too many were in progress
    publishes_failed: Counter[str] = field(default_factory=Counter)  # by `broker.FailureCause`
    api_calls: Counter[tuple[str, int]] = field(default_factory=Counter)  # of the server API, by method and code
    backend_failures: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # backend, call, `FailureCause`
    upgrades_refused: Counter[str] = field(default_factory=Counter)  # clients refused before they connected, by cause
    closes: Counter[int] = field(default_factory=Counter)  # by close code
    commands: Counter[str] = field(default_factory=Counter)  # answered with a result, by `command_kinds`
    errors: Counter[int] = field(default_factory=Counter)  # error replies, by code
    # By namespace: live messages missed and then read from the log; those that the log could not fill, as it had
    # evicted what was missing; reads of a channel's log, to fill a gap or to prove that there is none.
    gaps: Counter[str] = field(default_factory=Counter)
    holes: Counter[str] = field(default_factory=Counter)
    syncs: Counter[str] = field(default_factory=Counter)
    # By transport and client library: clients; reconnects; times that a client became a slow consumer, and that one
    # caught up from ring or log; publications without history that a slow consumer lost.
    connects: Counter[tuple[str, str]] = field(default_factory=Counter)
    reconnects: Counter[tuple[str, str]] = field(default_factory=Counter)
    lagged: Counter[tuple[str, str]] = field(default_factory=Counter)
    caught_up: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    recoveries: Counter[tuple[str, str]] = field(default_factory=Counter)  # by namespace and result
    recoveries_by_client: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # transport, library, result
    timings: Timings = field(default_factory=Timings)

    @property
    def recovered(self) -> int:
        """Subscribes that recovered everything that the client had missed."""
        return self._recoveries("recovered")

    @property
    def unrecovered(self) -> int:
        """Subscribes that got `recovered: false`."""
        return self._recoveries("unrecovered")

    def _recoveries(self, result: str) -> int:
        return sum(count for (_, one), count in self.recoveries.items() if one == result)

    def backend_failed(self, backend: str, call: str, cause: str) -> None:
        """Counts a question to a backend without a usable answer."""
        self.backend_failures[backend, call, cause] += 1

    def question_cut_off(self, backend: str, call: str, after_s: float) -> None:
        """Counts a question to a backend that the deadline of its command or call has ended."""
        self.backend_failed(backend, call, "timeout")
        self.timings.backend_seconds.of(backend, call).observe(after_s)

    def publish_failed(self, cause: str) -> None:
        """Counts a publish that failed, or that the deadline of its command or call has cut off ("timeout")."""
        self.publishes_failed[cause] += 1

    def refused_upgrade(self, cause: str) -> None:
        """Counts a client that was refused before it had a connection."""
        self.upgrades_refused[cause] += 1


COUNTERS: Final = tuple(one.name for one in fields(Tally) if one.type == "int")
"""The plain counters. Each is the series `fairlead_edge_<name>`."""

BY_NAMESPACE: Final = ("gaps", "holes", "syncs")
BY_CLIENT: Final = ("connects", "reconnects", "lagged", "caught_up", "dropped")
"""Counters with labels: the namespace; transport and library. Each is the series `fairlead_edge_<name>`, too."""
