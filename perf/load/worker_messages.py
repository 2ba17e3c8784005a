"""What a run sends to its child processes. What they answer is in `tally`, `delivery_counter` and `publisher`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """From a child: everything is prepared, the schedule may start."""


@dataclass(frozen=True, slots=True)
class Begin:
    start: float  # time.monotonic() at which the first connection or publication is due


@dataclass(frozen=True, slots=True)
class Take:
    """Answered with the `Deliveries` since the last one."""


@dataclass(frozen=True, slots=True)
class StopReading:
    below: int  # clients with smaller numbers stop reading


@dataclass(frozen=True, slots=True)
class ComeBack:
    """All lost clients reconnect now."""


@dataclass(frozen=True, slots=True)
class BeginPublishing:
    start: float  # time.monotonic() at which the clients' first publication is due


@dataclass(frozen=True, slots=True)
class Finish:
    pass
