"""What a run says to its processes; what they answer is `tally`, `ears` and `publisher`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """What can be prepared is; the schedule may start."""


@dataclass(frozen=True, slots=True)
class Begin:
    start: float  # time.monotonic() at which the first connection or publication is due


@dataclass(frozen=True, slots=True)
class Take:
    """Answered with what the clients heard since the last one."""


@dataclass(frozen=True, slots=True)
class Deafen:
    below: int  # clients with smaller numbers read nothing any more


@dataclass(frozen=True, slots=True)
class BeginTalk:
    start: float  # time.monotonic() at which the first publication is due


@dataclass(frozen=True, slots=True)
class Finish:
    pass
