"""`GET /cluster`: the processes that are alive and their figures, as JSON for people and scripts."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from proto.telemetry import Heartbeat
from services.metrics.aggregator import edge_loads, imbalance, sessions_load


def overview(beats: list[Heartbeat]) -> dict[str, Any]:
    """The processes that are alive, and sums over them. `beats` are those of `Aggregator.alive`."""
    loads = [load for _, load in edge_loads(beats)]
    sessions = sessions_load(beats)
    return {
        "edges": len(loads),
        "connections": sum(load.connections for load in loads),
        "subscriptions": sum(load.subscriptions for load in loads),
        "draining": sum(load.drain_left is not None for load in loads),
        "imbalance_ratio": round(imbalance(beats), 3),
        "sessions_lag_batches": sessions.lag_batches if sessions is not None else None,
        "processes": [_process(beat) for beat in beats],
    }


def _process(beat: Heartbeat) -> dict[str, Any]:
    load = beat.edge or beat.sessions
    identity = {"service": beat.service, "name": beat.name, "instance": beat.instance, "version": beat.version}
    return identity | structs.asdict(beat.process) | (structs.asdict(load) if load is not None else {})
