"""The settings of the metrics service."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from services.chassis.process.settings import Duration, LogSettings, NatsSettings, Port, Section, load
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

    url: str = ""
    """The database for the history, such as postgresql://user:password@127.0.0.1:5432/fairlead. It may be that of the
    sessions service. Empty: no history, and therefore no forecast."""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("postgresql://", "postgres://")):
            raise ValueError("expected postgres.url to begin with postgresql://")


class HistorySection(Section, frozen=True):
    """The section `history`."""

    keep_minutes: Duration = Duration(14 * 86400)
    """For how long the figures of each minute are kept. At least a day."""
    keep_hours: Duration = Duration(400 * 86400)
    """For how long those of each hour are kept, from which the forecast is made. At least five weeks."""
    migrate: bool = True
    """Whether to migrate the database at the start. Otherwise `python -m services.metrics migrate` does it."""

    def __post_init__(self) -> None:
        if self.keep_minutes < 86400:
            raise ValueError("expected history.keep_minutes of at least 1d")
        if self.keep_hours < 35 * 86400:
            raise ValueError("expected history.keep_hours of at least 35d")


class MetricsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All sections that the metrics service reads."""

    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSection = MetricsSection()
    postgres: PostgresSection = PostgresSection()
    history: HistorySection = HistorySection()

    @property
    def name(self) -> str:
        """The name of this process."""
        return self.metrics.name or f"metrics-{self.metrics.port}"


def from_environ(environ: Mapping[str, str]) -> MetricsSettings:
    """The settings from the file and the variables. Raises `ConfigurationError`."""
    return load(MetricsSettings, environ, SECTIONS)
