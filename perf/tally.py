"""What one process saw of a run, and how several of them add up. Plain data; times are `time.monotonic` seconds.

That clock is one for all processes of a machine on Linux, which is what lets their times be merged and compared with
the moment of a signal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from perf.ears import Heard


@dataclass(slots=True)
class Progress:
    """Where the connections of a process are now. `failed` were never established, `lost` were, and ended unasked.

    `messages` is what the clients heard, `spoken` what they published, `back` how many of the lost came back.
    """

    attempted: int = 0
    connected: int = 0
    failed: int = 0
    lost: int = 0
    messages: int = 0
    spoken: int = 0
    back: int = 0

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
            self.spoken + other.spoken,
            self.back + other.back,
        )


@dataclass(slots=True)
class Tally:
    """Everything that a process reports at its end. The lists have one entry for each established connection.

    `connect_s` counts from the due time, `connect_from_start_s` from when it was really started; `tcp_s`, `upgrade_s`
    and `reply_s` are its stages. `lateness_s` (one for each attempt) is what lies between the two: the generator's own
    fault. `loop_lag_s` says how late its timers fired all through the run.
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
    heard: Heard = field(default_factory=Heard)  # since the last take
    speech_lateness_s: list[float] = field(default_factory=list)  # how late the clients' publications went out
    back_at: list[float] = field(default_factory=list)  # when each came back
    recovered: int = 0  # of those, the ones that were promised to have missed nothing
    comeback_failures: Counter[str] = field(default_factory=Counter)  # attempts; each was followed by another one
    unanswered_goodbyes: int = 0
    cpu_s: float = 0.0


def merge(tallies: Iterable[Tally]) -> Tally:
    """The tally of the whole run."""
    whole = Tally()
    for one in tallies:
        whole.progress = whole.progress + one.progress
        for name in ("connect_s", "connect_from_start_s", "tcp_s", "upgrade_s", "reply_s", "lateness_s"):
            getattr(whole, name).extend(getattr(one, name))
        whole.loop_lag_s.extend(one.loop_lag_s)
        whole.speech_lateness_s.extend(one.speech_lateness_s)
        whole.lost_at.extend(one.lost_at)
        whole.last_established_at = max(whole.last_established_at, one.last_established_at)
        whole.back_at.extend(one.back_at)
        whole.recovered += one.recovered
        whole.comeback_failures += one.comeback_failures
        whole.failures += one.failures
        whole.losses += one.losses
        whole.heard.add(one.heard)
        whole.unanswered_goodbyes += one.unanswered_goodbyes
        whole.cpu_s += one.cpu_s
    return whole
