"""What an edge counts on its hot paths: plain integers, read when somebody asks (see `instruments`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts since the start of the process. They only grow."""

    accepted: int = 0  # connections upgraded
    messages_in: int = 0  # commands received
    messages_out: int = 0  # pushes and replies written
    bytes_out: int = 0  # bytes of frames written
    publishes: int = 0  # publications acknowledged
    gaps: int = 0  # live messages missed, then read from the log
    holes: int = 0  # publications evicted before this edge could read them
    syncs: int = 0  # channels read from the log, to close a gap or to prove that there is none
    broker_losses: int = 0  # connections to the broker that dropped
    recovered: int = 0
    unrecovered: int = 0
    recovered_publications: int = 0
    lagged: int = 0  # clients that could not take a push
    caught_up: int = 0  # of those, the ones brought up from ring or log
    dropped: int = 0  # publications without history not given to a client that lagged
    api_calls: int = 0  # calls of the server API
    api_turned_away: int = 0  # of those, refused because too many were in progress
    closes: Counter[int] = field(default_factory=Counter)  # by close code
    errors: Counter[int] = field(default_factory=Counter)  # error replies, by code
