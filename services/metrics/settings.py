"""The settings of the metrics service."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from services.chassis.process.settings import LogSettings, NatsSettings, Port, Section, load
from services.sections import SECTIONS


class MetricsSection(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8301
    name: str = ""
    """What operators call this process; "metrics-<port>" when empty."""


class MetricsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSection = MetricsSection()

    @property
    def name(self) -> str:
        return self.metrics.name or f"metrics-{self.metrics.port}"


def from_environ(environ: Mapping[str, str]) -> MetricsSettings:
    """The settings from the file and the variables. Raises `ConfigurationError`."""
    return load(MetricsSettings, environ, SECTIONS)
