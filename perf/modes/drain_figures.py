"""What a drain has shown, and which of its promises it broke."""

from __future__ import annotations

from collections import Counter

import msgspec

from perf.load import failures
from perf.load.tally import Tally
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures

BIN_S = 0.25


class Spread(Distribution, frozen=True, kw_only=True):
    """A distribution with its minimum."""

    first: float | None

    def in_ms(self) -> str:
        first = "-" if self.first is None else f"{self.first * 1000:.1f}"
        return f"first {first}  {super().in_ms()}"


class Memory(msgspec.Struct):
    """Bytes of the edge without and with clients, and the difference for each client."""

    idle: int
    held: int
    per_connection: int


class Cpu(msgspec.Struct):
    """CPU seconds of the edge since its start: before the clients came, and when all were held."""

    idle: float
    held: float


class ClientFigures(Figures):
    """What the clients saw."""

    attempted: int
    connected: int
    failed: int
    failures: dict[str, int]
    connect_s: Distribution
    lateness_s: Distribution
    closed: int
    close_codes: dict[str, int]
    closes: dict[str, int]
    close_after_signal_s: Spread
    closes_by_quarter_second: dict[str, int]

    @classmethod
    def of(cls, tally: Tally, sent_at: float) -> ClientFigures:
        """`sent_at` is when the edge got its signal, of `time.monotonic`."""
        after = [at - sent_at for at in tally.lost_at]
        spread = msgspec.structs.asdict(distribution(after))
        bins = Counter(int(seconds // BIN_S) for seconds in after)
        return cls(
            attempted=tally.progress.attempted,
            connected=tally.progress.connected,
            failed=tally.progress.failed,
            failures=dict(tally.failures),
            connect_s=distribution(tally.connect_s),
            lateness_s=distribution(tally.lateness_s),
            closed=tally.progress.lost,
            close_codes=failures.close_codes(tally.losses),
            closes=dict(tally.losses),
            close_after_signal_s=Spread(**spread, first=round(min(after), 3) if after else None),
            closes_by_quarter_second={f"{number * BIN_S:.2f}": bins[number] for number in sorted(bins)},
        )


class DrainFigures(Figures):
    """The `session_*` fields are None if the sessions service was not asked; `exit_*` if the edge did not exit."""

    FLAT = ("clients",)

    clients: ClientFigures
    connections: int
    promised_exit_s: float
    exit_code: int | None
    exit_s: float | None
    sessions_opened: int | None
    sessions_ended: int | None
    session_end_codes: dict[str, int] | None
    sessions_ended_seen_s: float | None
    tracebacks: int
    edge_rss_bytes: Memory
    edge_cpu_s: Cpu
    broken_promises: list[str]

    def table(self) -> str:
        bins = self.clients.closes_by_quarter_second
        return tables.text(
            [
                ("connected", f"{self.clients.connected} of {self.connections}"),
                ("closes seen", tables.causes(self.clients.closes)),
                ("closed after signal", self.clients.close_after_signal_s.in_ms() + " ms"),
                ("per quarter second", "  ".join(f"{start} s: {number}" for start, number in bins.items())),
                ("exit", f"code {self.exit_code} after {self.exit_s} s"),
                ("ends in PostgreSQL", self._ends()),
                ("verdict", tables.verdict(self.broken_promises)),
            ]
        )

    def _ends(self) -> str:
        if self.session_end_codes is None:
            return "not asked for"
        listed = ", ".join(f"{number} x {code}" for code, number in self.session_end_codes.items()) or "none"
        return f"{listed}; last seen {self.sessions_ended_seen_s} s after the signal"


def broken_promises(figures: DrainFigures) -> list[str]:
    """The promises that the drain broke, in words; empty if it kept all of them."""
    broken = []
    wanted, connected = figures.connections, figures.clients.connected
    if connected != wanted:
        broken.append(f"{connected} of {wanted} clients were connected")
    if figures.clients.close_codes != {"1001": connected}:
        broken.append(f"not every client saw 1001: {figures.clients.close_codes}")
    if figures.exit_code != 0:
        broken.append(f"exit code {figures.exit_code}")
    if figures.exit_s is None or figures.exit_s >= figures.promised_exit_s:
        broken.append(f"not gone within {figures.promised_exit_s:.0f} s")
    if figures.session_end_codes not in (None, {"1001": connected}):
        broken.append(f"not all {connected} sessions end with 1001 in PostgreSQL: {figures.session_end_codes}")
    if figures.tracebacks:
        broken.append(f"{figures.tracebacks} traceback(s) in the edge's log")
    return broken
