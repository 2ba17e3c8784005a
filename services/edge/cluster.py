"""The edges that are alive, as their heartbeats say. Reads no clock: the time is handed in as a function."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from proto.telemetry import LOST_AFTER_S, Heartbeat, decode_heartbeat

log = logging.getLogger(__name__)

MAX_EDGES: Final = 4096


class Cluster:
    """Takes every edge's heartbeats. `now` is any clock in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._beats: dict[str, tuple[float, Heartbeat]] = {}

    def heard(self, data: bytes) -> None:
        """A heartbeat as it came from NATS; what is none is ignored."""
        try:
            beat = decode_heartbeat(data)
        except msgspec.DecodeError as error:
            log.debug("a heartbeat is ignored: %s", error)
            return
        self._forget_lost()
        if beat.instance in self._beats or len(self._beats) < MAX_EDGES:
            self._beats[beat.instance] = (self._now(), beat)

    def edges(self) -> list[Heartbeat]:
        """The last heartbeat of each edge that is alive, by name."""
        self._forget_lost()
        return sorted((beat for _, beat in self._beats.values()), key=lambda beat: (beat.name, beat.instance))

    def _forget_lost(self) -> None:
        long_ago = self._now() - LOST_AFTER_S
        for instance in [i for i, (heard, _) in self._beats.items() if heard < long_ago]:
            del self._beats[instance]
