"""What one process saw of a run, and how the tallies of several processes are merged. Plain data; times are
`time.monotonic` seconds.

On Linux that clock is the same for all processes of a machine, so their times can be merged and compared with the
moment of a signal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from perf.load.delivery_counter import Deliveries


@dataclass(slots=True)
class Progress:
    """The connections of a process now. `failed` connections were never established; `lost` ones were, and ended
    unasked.

    `messages` is what the clients received, `published` what they sent, `reconnected` how many lost clients
    reconnected.
    """

    attempted: int = 0
    connected: int = 0
    failed: int = 0
    lost: int = 0
    messages: int = 0
    published: int = 0
    reconnected: int = 0

    @property
    def settled(self) -> int:
        return self.connected + self.failed

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            self.attempted + other.attempted,
            self.connected + other.connected,
            self.failed + other.failed,
            self.lost + other.lost,
            self.messages + other.messages,
            self.published + other.published,
            self.reconnected + other.reconnected,
        )


@dataclass(slots=True)
class Tally:
    """Everything that a process reports at its end. The lists have one entry for each established connection.

    `connect_s` counts from the due time, `connect_from_start_s` from when it was really started; `tcp_s`, `upgrade_s`
    and `reply_s` are its stages. `lateness_s` (one for each attempt) is the difference between the first two: the
    generator's own fault. `loop_lag_s` is how late its timers fired throughout the run.
    """

    progress: Progress = field(default_factory=Progress)
    connect_s: list[float] = field(default_factory=list)
    connect_from_start_s: list[float] = field(default_factory=list)
    tcp_s: list[float] = field(default_factory=list)
    upgrade_s: list[float] = field(default_factory=list)
    reply_s: list[float] = field(default_factory=list)
    lateness_s: list[float] = field(default_factory=list)
    loop_lag_s: list[float] = field(default_factory=list)
    last_established_at: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    lost_at: list[float] = field(default_factory=list)
    deliveries: Deliveries = field(default_factory=Deliveries)  # since the last take
    publish_lateness_s: list[float] = field(default_factory=list)  # how late the clients' publications were sent
    reconnected_at: list[float] = field(default_factory=list)
    recovered: int = 0  # reconnected clients whose reply promised that nothing is missing
    reconnect_failures: Counter[str] = field(default_factory=Counter)  # attempts; each was followed by another one
    unanswered_closes: int = 0  # close frames that the server did not answer in time
    cpu_s: float = 0.0


def merge(tallies: Iterable[Tally]) -> Tally:
    """The tally of the whole run."""
    whole = Tally()
    for one in tallies:
        whole.progress = whole.progress + one.progress
        for name in ("connect_s", "connect_from_start_s", "tcp_s", "upgrade_s", "reply_s", "lateness_s"):
            getattr(whole, name).extend(getattr(one, name))
        whole.loop_lag_s.extend(one.loop_lag_s)
        whole.publish_lateness_s.extend(one.publish_lateness_s)
        whole.lost_at.extend(one.lost_at)
        whole.last_established_at = max(whole.last_established_at, one.last_established_at)
        whole.reconnected_at.extend(one.reconnected_at)
        whole.recovered += one.recovered
        whole.reconnect_failures += one.reconnect_failures
        whole.failures += one.failures
        whole.losses += one.losses
        whole.deliveries.add(one.deliveries)
        whole.unanswered_closes += one.unanswered_closes
        whole.cpu_s += one.cpu_s
    return whole
