"""The edge's settings. Option names of namespaces and clients are Centrifugo's, whose users know them."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from services.chassis.process.settings import (
    Duration,
    HttpApiSettings,
    LogSettings,
    NatsSettings,
    Port,
    Section,
)

Count = Annotated[int, Meta(ge=1)]
MIN_JWKS_REFRESH_S = 1.0
"""Keys change every few weeks: more often than this asks too much of whoever serves them."""

DRAIN_LIMIT_S = 9.5
"""What a drain may take at the most, whatever the settings: the promise is "always under 10 s"."""

MEMORY = "memory"
BROKERS = ("nats", MEMORY)
SLOW_CLIENT_POLICIES = ("disconnect", "drop")
TRANSPORTS = ("websocket", "http_stream", "sse", "uni_websocket", "uni_http_stream", "uni_sse")
DELTA_TYPES = ("fossil",)
DATA_FORMATS = ("", "json", "json_object")
WHEN_AWAY = ("refuse", "allow")
RECOVERY_MODES = ("stream", "cache")
COMMAND_DEADLINE_S = 4.5
"""A command that is not answered in time gets error 100 just before SDKs give up on it (5 s)."""


class EdgeSection(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8101
    client_port: Port = 0
    """A second port, that answers clients alone: for a balancer that passes TCP through and so chooses no paths."""
    name: str = ""
    """What operators call this edge; "edge-<port>" when empty."""
    broker: str = "nats"
    """"nats", or "memory": an edge by itself that needs no NATS, for a first try and for the tests of applications. It
    keeps channels in its own memory, and has no other edges, no backends and no sessions."""
    drain_delay: Duration = Duration(0.5)
    """After SIGTERM, how long the edge still takes clients while the load balancer notices that it is not ready."""
    drain_rate: Annotated[int, Meta(ge=0)] = 1000
    """Connections closed per second while draining; faster when the time would not suffice. 0: as fast as it can."""
    drain_timeout: Duration = Duration(9.0)
    """When a drain is cut off. At most 9.5 s."""
    max_publishes_in_flight: Count = 512
    """Publishes that may wait for JetStream's acknowledgement at once; 16 further ones for each
    place wait their turn, and what is beyond that gets error 100 at once."""
    max_http_streams: Count = 10_000
    """Clients on SSE and HTTP streams at once (each as large as six WebSockets); further ones are answered 503."""

    def __post_init__(self) -> None:
        if self.broker not in BROKERS:
            raise ValueError('expected edge.broker "nats" or "memory"')
        if self.drain_timeout > DRAIN_LIMIT_S:
            raise ValueError(f"expected edge.drain_timeout of at most {DRAIN_LIMIT_S} s")
        if self.drain_delay >= self.drain_timeout:
            raise ValueError("expected edge.drain_delay to be shorter than edge.drain_timeout")
        if self.client_port == self.port != 0:
            raise ValueError("expected edge.client_port to be another port than edge.port")


class TokenKey(Section, frozen=True):
    """One of several keys for tokens, which say by the `kid` of their header which one they are signed with."""

    algorithm: str
    """HS256/384/512, RS256/384/512, PS256/384/512, ES256/384/512 or EdDSA."""
    kid: str = ""
    """Empty: for tokens that name no key."""
    secret: str = ""
    """For HS256/384/512."""
    public_key: str = ""
    """For all others, in PEM form."""


class ClientSection(Section, frozen=True):
    token_hmac_secret_key: str = ""
    """The secret that tokens (JWT) are signed with, for HS256/384/512."""
    token_rsa_public_key: str = ""
    """The public key that tokens are checked with, in PEM form, for RS256/384/512 and PS256/384/512."""
    token_ecdsa_public_key: str = ""
    """The same for ES256, ES384 or ES512: which of them is decided by the key's curve."""
    token_ed25519_public_key: str = ""
    """The same for EdDSA with Ed25519."""
    token_keys: list[TokenKey] = []  # noqa: RUF012
    """Further keys, each with its algorithm and its `kid`, such as the old and the new one while keys are rotated."""
    token_jwks_public_endpoint: str = ""
    """Where the public keys are found as a JWKS document (https://...). Asked again for a `kid` that is not known."""
    token_jwks_refresh: Duration = Duration(600)
    """How often it is read anew, so that keys that were withdrawn stop working."""
    token_audience: str = ""
    """What the `aud` of every token must be or contain; empty: not checked."""
    token_issuer: str = ""
    """What the `iss` of every token must be; empty: not checked."""
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
    compression: bool = False
    """Whether WebSockets compress with clients that offer it: less traffic for more CPU (permessage-deflate)."""
    compression_min_bytes: Annotated[int, Meta(ge=0)] = 256
    """Bytes of a message from which on it is compressed; shorter ones hardly shrink."""
    commands_per_message: Count = 256
    queued_commands_limit: Count = 1024
    """Commands that may wait behind one in progress: reading stops at half of it, beyond it the client is closed."""
    history_max_publication_limit: Count = 300
    """Publications in one reply to a client's history command."""
    recovery_max_publication_limit: Annotated[int, Meta(ge=0)] = 0
    """More missed publications than this are not recovered; 0: as many as the channel's history holds."""
    transports: list[str] = field(default_factory=lambda: ["websocket"])
    """What clients may connect by: websocket, http_stream, sse, uni_websocket, uni_http_stream, uni_sse."""
    user_connection_limit: Annotated[int, Meta(ge=0)] = 0
    """Connections that one user may have on one edge, 0 for any number; one more is closed with 3504."""
    disallow_anonymous_connection_tokens: bool = False
    """Tokens without a user id are refused with 3507."""
    subscribe_to_user_personal_channel: bool = False
    """Every client with a user id is subscribed to "#<user id>" by the server."""
    user_personal_channel_namespace: str = ""
    """The namespace of that channel: "ns" makes it "ns:#<user id>"."""
    rpc_timeout: Duration = Duration(4)
    """How long a backend may take for a client's RPC before the client gets error 100."""
    allow_send: bool = False
    """Client messages without an answer are passed on to `send.<user>` on NATS; off: they close with 3508."""
    connect_hook: bool = False
    """Clients without a token are let in or not by the backend behind `hook.connect`."""
    refresh_hook: bool = False
    """Connections that expire are prolonged or not by the backend behind `hook.refresh`, not by the client."""
    hook_timeout: Duration = Duration(1)
    """How long the backend may take for `hook.connect` and `hook.refresh`."""
    hook_when_away: str = "refuse"
    """The answer when it does not answer: "refuse" (error 100, the client tries again), "allow" (as anonymous)."""

    def __post_init__(self) -> None:
        if self.pong_timeout >= self.ping_interval > 0:
            raise ValueError("expected client.pong_timeout to be shorter than client.ping_interval")
        if self.ping_interval and self.ping_interval < 1:
            raise ValueError("expected client.ping_interval of at least 1 s, or 0 to switch pings off")
        if self.token_jwks_public_endpoint and not _is_http_address(self.token_jwks_public_endpoint):
            raise ValueError("expected client.token_jwks_public_endpoint to be an address such as https://host/path")
        if self.token_jwks_refresh < MIN_JWKS_REFRESH_S:
            raise ValueError(f"expected client.token_jwks_refresh of at least {MIN_JWKS_REFRESH_S:g} s")
        unknown = [name for name in self.transports if name not in TRANSPORTS]
        if unknown:
            raise ValueError(f"expected client.transports out of {', '.join(TRANSPORTS)}; {unknown[0]!r} is none")
        _check_hook("client.", self.hook_timeout, self.hook_when_away)
        if not 0 < self.rpc_timeout < COMMAND_DEADLINE_S:
            raise ValueError(f"expected client.rpc_timeout below {COMMAND_DEADLINE_S} s, when SDKs give up")


def _check_hook(where: str, timeout: float, when_away: str) -> None:
    if not 0 < timeout < COMMAND_DEADLINE_S:
        raise ValueError(f"expected {where}hook_timeout below {COMMAND_DEADLINE_S} s, when SDKs give up")
    if when_away not in WHEN_AWAY:
        raise ValueError(f'expected {where}hook_when_away "refuse" or "allow"')


def _is_http_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and text.isascii()
    except ValueError:  # a port that is none, or half an IPv6 address
        return False


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
    presence: bool = False
    """Who is subscribed can be asked for."""
    allow_presence_for_client: bool = False
    allow_presence_for_subscriber: bool = False
    allow_presence_for_anonymous: bool = False
    join_leave: bool = False
    """Who subscribes and who leaves is told to subscribers that want to know, and may (`allow_presence_for_...`)."""
    force_push_join_leave: bool = False
    """It is told to every subscriber."""
    allow_user_limited_channels: bool = False
    """"ns:rest#7,8" is for the users 7 and 8."""
    force_recovery_mode: str = "stream"
    """What coming back means: "stream", everything that was missed; "cache", the newest publication."""
    auto_cache_recover: bool = False
    """With "cache": the newest publication comes with every subscribe, also the first one."""
    allowed_delta_types: list[str] = []  # noqa: RUF012
    """["fossil"]: subscribers that ask for it get publications as differences to the previous one."""
    allow_tags_filter: bool = False
    """Subscribers may have publications left out by their tags."""
    publication_data_format: str = ""
    """What clients may publish: "" anything, "json" JSON only, "json_object" JSON objects only."""
    subscribe_hook: bool = False
    """Subscribing is allowed or not by the backend behind `hook.subscribe` (unless a subscription token says so)."""
    publish_hook: bool = False
    """What clients publish is allowed, changed or not by the backend behind `hook.publish`."""
    hook_timeout: Duration = Duration(1)
    """How long the backend may take for these hooks."""
    hook_when_away: str = "refuse"
    """The answer when it does not answer: "refuse" (error 100, the client tries again) or "allow"."""
    channel_regex: str = ""
    """What the part after "namespace:" must match as a whole; empty: printable ASCII."""
    slow_client: str = "disconnect"
    """Without history, what happens to a client that cannot take a publication: "disconnect" it, or "drop" that one."""

    def __post_init__(self) -> None:
        if (self.history_size > 0) != (self.history_ttl > 0):
            raise ValueError("expected history_size and history_ttl to be both set or both 0")
        if 0 < self.history_ttl < 1:
            raise ValueError("expected history_ttl of at least 1 s")
        needing_history = (self.force_positioning, self.allow_positioning, self.force_recovery, self.allow_recovery)
        if any(needing_history) and not self.has_history:
            raise ValueError(
                "expected history_size and history_ttl, without which nothing can be positioned or recovered"
            )
        if self.slow_client not in SLOW_CLIENT_POLICIES:
            raise ValueError('expected slow_client "disconnect" or "drop"')
        if self.publication_data_format not in DATA_FORMATS:
            raise ValueError('expected publication_data_format "", "json" or "json_object"')
        if self.force_recovery_mode not in RECOVERY_MODES:
            raise ValueError('expected force_recovery_mode "stream" or "cache"')
        if any(name not in DELTA_TYPES for name in self.allowed_delta_types):
            raise ValueError('expected allowed_delta_types to be [] or ["fossil"]')
        if (self.allowed_delta_types or self.auto_cache_recover) and not self.has_history:
            raise ValueError("expected history_size and history_ttl, without which there is nothing to differ from")
        _check_hook("", self.hook_timeout, self.hook_when_away)
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


class EdgeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    edge: EdgeSection = EdgeSection()
    client: ClientSection = ClientSection()
    channel: ChannelSection = ChannelSection()
    http_api: HttpApiSettings = HttpApiSettings()

    @property
    def name(self) -> str:
        return self.edge.name or f"edge-{self.edge.port}"
