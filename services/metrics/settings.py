"""The settings of the metrics service."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from services.chassis.process.settings import LogSettings, NatsSettings, Port, Section, load
from services.sections import SECTIONS


class MetricsSection(Section, frozen=True):
    """The section `metrics`."""

    host: str = "127.0.0.1"
    """The address on which the service listens."""
    port: Port = 8301
    """The port of `/metrics`, `/cluster` and health."""
    name: str = ""
    """The name of this process in logs and metrics; "metrics-<port>" if empty."""


class MetricsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All sections that the metrics service reads."""

    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSection = MetricsSection()

    @property
    def name(self) -> str:
        """The name of this process."""
        return self.metrics.name or f"metrics-{self.metrics.port}"


def from_environ(environ: Mapping[str, str]) -> MetricsSettings:
    """The settings from the file and the variables. Raises `ConfigurationError`."""
    return load(MetricsSettings, environ, SECTIONS)
