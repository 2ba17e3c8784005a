"""The edge's settings. Option names of namespaces and clients are Centrifugo's, whose users know them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from services.chassis.settings import (
    ConfigurationError,
    Duration,
    LogSettings,
    NatsSettings,
    Port,
    Section,
    load,
)

Count = Annotated[int, Meta(ge=1)]
MIN_SECRET_LENGTH = 16
"""HMAC-SHA256 keys shorter than this can be guessed."""

DRAIN_LIMIT_S = 9.5
"""What a drain may take at the most, whatever the settings: the promise is "always under 10 s"."""

SLOW_CLIENT_POLICIES = ("disconnect", "drop")


class EdgeSection(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8101
    name: str = ""
    """What operators call this edge; "edge-<port>" when empty."""
    drain_delay: Duration = Duration(0.5)
    """After SIGTERM, how long the edge still takes clients while the load balancer notices that it is not ready."""
    drain_rate: Count = 1000
    """Connections closed per second while draining; faster when the time would not suffice."""
    drain_timeout: Duration = Duration(9.0)
    """When a drain is cut off. At most 9.5 s."""
    max_publishes_in_flight: Count = 512
    """Publishes that may wait for JetStream's acknowledgement at once; further ones wait their turn."""

    def __post_init__(self) -> None:
        if self.drain_timeout > DRAIN_LIMIT_S:
            raise ValueError(f"expected edge.drain_timeout of at most {DRAIN_LIMIT_S} s")
        if self.drain_delay >= self.drain_timeout:
            raise ValueError("expected edge.drain_delay to be shorter than edge.drain_timeout")


class ClientSection(Section, frozen=True):
    token_hmac_secret_key: str = ""
    """The secret that connection tokens (JWT, HS256/384/512) are signed with."""
    insecure: bool = False
    """For tests only: everybody may connect, subscribe, publish and read history, and tokens do not expire."""
    allow_anonymous_connect_without_token: bool = False
    allowed_origins: list[str] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """Origins whose pages may connect, such as "https://*.example.com"; "*" for all. Empty: no browser at all."""
    ping_interval: Duration = Duration(25)
    pong_timeout: Duration = Duration(8)
    stale_close_delay: Duration = Duration(10)
    """How long a connection may stay without a successful connect command."""
    expired_close_delay: Duration = Duration(25)
    """How long after its token expired a connection has to refresh it."""
    slow_close_delay: Duration = Duration(30)
    """How long a client may take nothing at all before it is disconnected as slow."""
    channel_limit: Count = 128
    channel_max_length: Annotated[int, Meta(ge=1, le=320)] = 255
    """Characters. A character takes up to 12 bytes of a NATS subject, whose line has a limit of 4,096."""
    message_size_limit: Count = 65536
    """Bytes of one WebSocket message from a client; a larger one closes the connection with 1009."""
    commands_per_message: Count = 256
    queued_commands_limit: Count = 1024
    """Commands that may wait behind one in progress: reading stops at half of it, beyond it the client is closed."""
    history_max_publication_limit: Count = 300
    """Publications in one reply to a client's history command."""
    recovery_max_publication_limit: Annotated[int, Meta(ge=0)] = 0
    """More missed publications than this are not recovered; 0: as many as the channel's history holds."""

    def __post_init__(self) -> None:
        if self.pong_timeout >= self.ping_interval > 0:
            raise ValueError("expected client.pong_timeout to be shorter than client.ping_interval")
        if self.ping_interval and self.ping_interval < 1:
            raise ValueError("expected client.ping_interval of at least 1 s, or 0 to switch pings off")


class ChannelOptions(Section, frozen=True):
    """What holds for the channels of one namespace. Everything is off or forbidden unless it is switched on."""

    history_size: Annotated[int, Meta(ge=0)] = 0
    """Publications kept for each channel; 0: no history, at-most-once delivery with the lowest latency."""
    history_ttl: Duration = Duration(0)
    """How long a publication is kept."""
    force_positioning: bool = False
    allow_positioning: bool = False
    force_recovery: bool = False
    allow_recovery: bool = False
    allow_subscribe_for_client: bool = False
    allow_subscribe_for_anonymous: bool = False
    allow_publish_for_client: bool = False
    allow_publish_for_subscriber: bool = False
    allow_publish_for_anonymous: bool = False
    allow_history_for_client: bool = False
    allow_history_for_subscriber: bool = False
    allow_history_for_anonymous: bool = False
    channel_regex: str = ""
    """What the part after "namespace:" must match as a whole; empty: printable ASCII."""
    slow_client: str = "disconnect"
    """Without history, what happens to a client that cannot take a publication: "disconnect" it, or "drop" that one."""

    def __post_init__(self) -> None:
        if (self.history_size > 0) != (self.history_ttl > 0):
            raise ValueError("expected history_size and history_ttl to be both set or both 0")
        if 0 < self.history_ttl < 1:
            raise ValueError("expected history_ttl of at least 1 s")
        wishes = (self.force_positioning, self.allow_positioning, self.force_recovery, self.allow_recovery)
        if any(wishes) and not self.has_history:
            raise ValueError(
                "expected history_size and history_ttl, without which nothing can be positioned or recovered"
            )
        if self.slow_client not in SLOW_CLIENT_POLICIES:
            raise ValueError('expected slow_client "disconnect" or "drop"')
        try:
            re.compile(self.channel_regex)
        except re.error as error:
            raise ValueError(f"expected channel_regex to be a regular expression: {error}") from None

    @property
    def has_history(self) -> bool:
        return self.history_size > 0 and self.history_ttl > 0


class Namespace(ChannelOptions, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern=r"^[-a-zA-Z0-9_.]{2,}\Z", max_length=64)]


class ChannelSection(Section, frozen=True):
    without_namespace: ChannelOptions = ChannelOptions()
    """Options of channels whose name has no ":"."""
    namespaces: list[Namespace] = []  # noqa: RUF012
    history_partitions: Annotated[int, Meta(ge=1, le=256)] = 16
    """Streams that the channels of a namespace are spread over. Fixed once the streams exist: those win."""

    def __post_init__(self) -> None:
        names = [namespace.name for namespace in self.namespaces]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'expected each namespace once, "{twice[0]}" is there twice')


class HttpApiSection(Section, frozen=True):
    key: str = ""
    """The key of the server API; empty: every call is answered 401."""


class EdgeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    edge: EdgeSection = EdgeSection()
    client: ClientSection = ClientSection()
    channel: ChannelSection = ChannelSection()
    http_api: HttpApiSection = HttpApiSection()

    @property
    def name(self) -> str:
        return self.edge.name or f"edge-{self.edge.port}"


def from_environ(environ: Mapping[str, str]) -> EdgeSettings:
    """The settings from the file and the variables. Raises `ConfigurationError`, also for a missing or weak secret."""
    settings = load(EdgeSettings, environ)
    secret = settings.client.token_hmac_secret_key
    if secret and len(secret) < MIN_SECRET_LENGTH:
        raise ConfigurationError(
            f"client.token_hmac_secret_key: expected at least {MIN_SECRET_LENGTH} characters, got {len(secret)}"
        )
    open_door = settings.client.insecure or settings.client.allow_anonymous_connect_without_token
    if not secret and not open_door:
        raise ConfigurationError(
            "client.token_hmac_secret_key is missing: nobody could connect. Expected the secret that your tokens are "
            "signed with, there or as FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY (for tests: client.insecure = true)"
        )
    return settings
