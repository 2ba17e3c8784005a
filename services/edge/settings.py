"""All settings of an edge: its own sections, and what it reads of the common ones. `configuration` reads them."""

from __future__ import annotations

import os

from msgspec import Struct

from services.chassis.nats.settings import NatsSettings
from services.chassis.process.api_keys import HttpApiSettings
from services.chassis.process.settings import LogSettings, ProcessSettings
from services.chassis.tracing.settings import TracingSettings
from services.edge.backend_settings import BackendSettings, RPCSection
from services.edge.channel_settings import ChannelSection
from services.edge.client_settings import ClientSection
from services.edge.edge_settings import DEFAULT_PORT, EdgeSection
from services.edge.limit_settings import LimitsSection


class EdgeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of an edge."""

    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    process: ProcessSettings = ProcessSettings()
    edge: EdgeSection = EdgeSection()
    client: ClientSection = ClientSection()
    channel: ChannelSection = ChannelSection()
    backends: list[BackendSettings] = []
    rpc: RPCSection = RPCSection()
    http_api: HttpApiSettings = HttpApiSettings()
    limits: LimitsSection = LimitsSection()
    tracing: TracingSettings = TracingSettings()

    @property
    def name(self) -> str:
        """What operators call this edge."""
        return self.edge.name or _name_on(os.uname().nodename, self.edge.port)


def _name_on(host: str, port: int) -> str:
    return host if port == DEFAULT_PORT else f"{host}:{port}"
