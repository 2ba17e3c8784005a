"""The settings of the metrics service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from services.chassis.nats.settings import NatsSettings
from services.chassis.postgres.url import check_url
from services.chassis.process.secret_files import Secret
from services.chassis.process.settings import Duration, LogSettings, Port, ProcessSettings, Section, load
from services.sections import SECTIONS


class MetricsSection(Section, frozen=True):
    """The section `metrics`."""

    host: str = "127.0.0.1"
    """The address on which the service listens."""
    port: Port = 8301
    """The port of `/metrics`, `/cluster`, `/capacity`, `/forecast` and health."""
    name: str = ""
    """The name of this process in logs and metrics; "metrics-<port>" if empty."""


class PostgresSection(Section, frozen=True):
    """The section `postgres`."""

    url: Secret = ""
    """The database for the history, such as postgresql://user:password@127.0.0.1:5432/fairlead. It may be the database
    of the sessions service. Empty: no history, and therefore no forecast."""

    def __post_init__(self) -> None:
        if self.url:
            check_url(self.url)


class HistorySection(Section, frozen=True):
    """The section `history`."""

    keep_minutes: Duration = Duration(14 * 86400)
    """How long the figures of each minute are kept. At least a day."""
    keep_hours: Duration = Duration(400 * 86400)
    """How long the figures of each hour are kept, from which the forecast is made. At least five weeks."""
    migrate: bool = True
    """Whether to migrate the database at the start. Otherwise `python -m services.metrics migrate` does it."""

    def __post_init__(self) -> None:
        if self.keep_minutes < 86400:
            raise ValueError("expected history.keep_minutes of at least 1d")
        if self.keep_hours < 35 * 86400:
            raise ValueError("expected history.keep_hours of at least 35d")


class CapacitySection(Section, frozen=True):
    """The section `capacity`: what one edge has, and how many edges there may be."""

    utilization: float = 0.7
    """The largest share of its CPU, memory, descriptors and bandwidth that an edge should use; from 0.1 to 1."""
    cpu: float = 1.0
    """The cores that one edge can use. An edge is one thread: 1, or less if its CPU is limited to less."""
    memory: int = 0
    """The memory that one edge may use, in bytes; 0: the soft limit that the edge reports."""
    bandwidth: int = 0
    """The bytes per second that one edge may send; 0: bandwidth never binds."""
    loop_lag: Duration = Duration(0.1)
    """How late an edge's event loop may be: the mean of each second's largest lateness. 0: it never binds."""
    min_edges: int = 1
    """The fewest edges to recommend."""
    max_edges: int = 100
    """The most edges to recommend."""
    spare_edges: int = 1
    """Edges beyond what the load needs: that many may be lost without harm."""
    lead_time: Duration = Duration(600)
    """How long before a predicted load its edges are recommended."""
    scale_in_after: Duration = Duration(1800)
    """How long fewer edges must have sufficed before one less is recommended."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.utilization <= 1:
            raise ValueError("expected capacity.utilization from 0.1 to 1")
        if not 0 < self.cpu <= 1:
            raise ValueError("expected capacity.cpu above 0, and at most 1: an edge is one thread")
        if self.memory < 0 or self.bandwidth < 0 or self.spare_edges < 0:
            raise ValueError("expected capacity.memory, capacity.bandwidth and capacity.spare_edges of at least 0")
        if not 1 <= self.min_edges <= self.max_edges:
            raise ValueError("expected capacity.min_edges of at least 1, and capacity.max_edges of at least that")


class ForecastSection(Section, frozen=True):
    """The section `forecast`."""

    interval: Duration = Duration(3600)
    """How often a forecast is made; it takes some seconds of CPU time, in a separate process. At least 5 minutes."""
    horizon: Duration = Duration(7 * 86400)
    """How far ahead a forecast goes; from an hour to four weeks."""
    certainty: float = 0.9
    """The probability with which the edges that are recommended for a coming hour suffice; from 0.5 to 0.975."""

    def __post_init__(self) -> None:
        if self.interval < 300:
            raise ValueError("expected forecast.interval of at least 5m")
        if not 3600 <= self.horizon <= 28 * 86400:
            raise ValueError("expected forecast.horizon from 1h to 28d")
        if not 0.5 <= self.certainty <= 0.975:
            raise ValueError("expected forecast.certainty from 0.5 to 0.975")


class MetricsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All sections that the metrics service reads."""

    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    process: ProcessSettings = ProcessSettings()
    metrics: MetricsSection = MetricsSection()
    postgres: PostgresSection = PostgresSection()
    history: HistorySection = HistorySection()
    capacity: CapacitySection = CapacitySection()
    forecast: ForecastSection = ForecastSection()

    @property
    def name(self) -> str:
        """The name of this process."""
        return self.metrics.name or f"metrics-{self.metrics.port}"


def from_environ(environ: Mapping[str, str]) -> MetricsSettings:
    """The settings from the file and the variables. Raises `ConfigurationError`."""
    return load(MetricsSettings, environ, SECTIONS)


def cautions(settings: MetricsSettings) -> Iterator[str]:
    """What `check` tells an operator about: settings that are allowed, but may not be intended."""
    if not settings.postgres.url:
        yield "postgres.url is not set: there is no history and no forecast"
