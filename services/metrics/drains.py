"""How long edges take to drain, according to their heartbeats: an edge that hangs or is killed cannot report it
itself."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from proto.telemetry import Heartbeat
from services.chassis.metrics.histogram import Histogram

BOUNDS_S: Final = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 30.0, 60.0)


class Drains:
    """Times are seconds of one monotonic clock. A drain is measured up to a second too short, since heartbeats come
    once a second."""

    def __init__(self) -> None:
        self.seconds = Histogram(BOUNDS_S)
        """From the first heartbeat of a drain to the edge's last one, which says that the edge leaves."""
        self.lost = 0
        """Drains of edges that fell silent before their last heartbeat."""
        self._began: dict[str, float | None] = {}  # by instance; None once it has been counted

    def heard(self, beat: Heartbeat, now: float) -> None:
        """Takes a heartbeat that arrived at `now`."""
        if beat.edge is None or beat.edge.drain_left is None:
            return
        began = self._began.setdefault(beat.instance, now)
        if beat.leaving and began is not None:
            self.seconds.observe(now - began)
            self._began[beat.instance] = None

    def fell_silent(self, instance: str) -> None:
        """Notes that the edge is lost: a drain in progress counts as lost. Later heartbeats of the edge do not
        count."""
        if self._began.get(instance) is not None:
            self.lost += 1
            self._began[instance] = None

    def forget(self, known: Container[str]) -> None:
        """Drops instances that are not in `known`."""
        self._began = {instance: began for instance, began in self._began.items() if instance in known}
