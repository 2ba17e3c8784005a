"""The edge's settings: sections `edge`, `client`, `channel`, and what it reads of the common ones.

The names of options of clients and namespaces are Centrifugo's, so that its users know them. `configuration` reads
them.
"""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from services.chassis.process.settings import (
    Duration,
    HttpApiSettings,
    LogSettings,
    NatsSettings,
    Port,
    ProcessSettings,
    Rate,
    Section,
    is_http_address,
)
from services.chassis.tracing.settings import TracingSettings
from services.edge.limit_settings import LimitsSection

Count = Annotated[int, Meta(ge=1)]
MIN_JWKS_REFRESH_S = 1.0
"""Keys change every few weeks: a shorter interval would ask too much of the server that has them."""

SUBSCRIBE_BYTES = 512
"""Room for one subscription in a client's first message: its channel, token and position. SDKs that reconnect say
`connect` and all subscriptions in one message."""

DRAIN_LIMIT_S = 9.5
"""The longest drain that can be configured: the promise is "always in less than 10 s"."""

MEMORY = "memory"
BROKERS = ("nats", MEMORY)
SLOW_CLIENT_POLICIES = ("disconnect", "drop")
TRANSPORTS = ("websocket", "http_stream", "sse", "uni_websocket", "uni_http_stream", "uni_sse")
DELTA_TYPES = ("fossil",)
DATA_FORMATS = ("", "json", "json_object")
WHEN_AWAY = ("refuse", "allow")
RECOVERY_MODES = ("stream", "cache")
WHEN_FULL = ("evict", "refuse")
COMMAND_DEADLINE_S = 4.5
"""A command that is not answered by then gets error 100, just before SDKs give up on it (5 s)."""


class EdgeSection(Section, frozen=True):
    """One edge process: addresses, broker, drain, bounds."""

    host: str = "127.0.0.1"
    """The address on which it listens."""
    port: Port = 8101
    """The port for clients, the server API, health checks and metrics."""
    client_port: Port = 0
    """A second port for clients only, for a balancer that passes TCP through and cannot restrict paths. 0: none."""
    trusted_proxies: list[str] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """The proxies and balancers in front of the edge, as addresses and networks such as "10.0.0.0/8". They tell the
    addresses of clients, by `X-Forwarded-For` or the PROXY protocol; nobody else is believed."""
    proxy_protocol: bool = False
    """Connections of `trusted_proxies` to `client_port` begin with a header of the PROXY protocol (version 1 or 2)."""
    name: str = ""
    """The edge's name in logs, metrics and sessions; "edge-<port>" when empty."""
    broker: str = "nats"
    """"nats", or "memory": an edge by itself that needs no NATS, for a first try and for the tests of applications. It
    keeps channels in its own memory, and has no other edges, no backends and no sessions."""
    drain_delay: Duration = Duration(0.5)
    """How long the edge accepts new clients after SIGTERM, until the load balancer notices that it is not ready."""
    drain_rate: Annotated[int, Meta(ge=0)] = 1000
    """Connections closed per second while draining; more if the time would not suffice. 0: as fast as it can."""
    drain_timeout: Duration = Duration(9.0)
    """After this time a drain is cut off. At most 9.5 s."""
    max_publishes_in_flight: Count = 512
    """Publishes that may wait for JetStream's acknowledgement at once. 16 times as many may wait for their turn;
    further ones get error 100 at once."""
    max_http_streams: Count = 10_000
    """Clients on SSE and HTTP streams at once (each takes the memory of six WebSockets); further ones get 503."""
    memory_soft_limit: Annotated[int, Meta(ge=0)] | None = None
    """Bytes above which it is not ready for new clients while another edge has room. Left out: 70 % of what it may use.
    0: no limit."""
    memory_hard_limit: Annotated[int, Meta(ge=0)] | None = None
    """Bytes above which it refuses clients, and closes the slowest. Left out: 85 % of what it may use. 0: no limit."""

    def __post_init__(self) -> None:
        if self.broker not in BROKERS:
            raise ValueError('expected edge.broker "nats" or "memory"')
        if self.drain_timeout > DRAIN_LIMIT_S:
            raise ValueError(f"expected edge.drain_timeout of at most {DRAIN_LIMIT_S} s")
        if self.drain_delay >= self.drain_timeout:
            raise ValueError("expected edge.drain_delay to be shorter than edge.drain_timeout")
        if 0 < (self.memory_hard_limit or 0) < (self.memory_soft_limit or 0):
            raise ValueError("expected edge.memory_hard_limit to be at least edge.memory_soft_limit")
        if self.client_port == self.port != 0:
            raise ValueError("expected edge.client_port to be another port than edge.port")
        if self.proxy_protocol and not (self.client_port and self.trusted_proxies):
            raise ValueError("expected edge.client_port and edge.trusted_proxies with edge.proxy_protocol")


class TokenKey(Section, frozen=True):
    """One of several keys for tokens. A token names its key by the `kid` in its header."""

    algorithm: str
    """HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA."""
    kid: str = ""
    """The key's id in tokens. Empty: for tokens that name no key."""
    secret: str = ""
    """The secret, for HS256, HS384 and HS512."""
    public_key: str = ""
    """The public key in PEM form, for all other algorithms."""


class ClientSection(Section, frozen=True):
    """Clients: tokens, who may connect, timeouts, limits, and hooks about connections."""

    token_hmac_secret_key: str = ""
    """The secret with which tokens (JWT) are signed, for HS256, HS384 and HS512. At least 16 characters."""
    token_rsa_public_key: str = ""
    """The public key in PEM form that verifies tokens with RS256, RS384, RS512, PS256, PS384 or PS512."""
    token_ecdsa_public_key: str = ""
    """The same for ES256, ES384 or ES512, whichever the key's curve is for."""
    token_ed25519_public_key: str = ""
    """The same for EdDSA with Ed25519."""
    token_keys: list[TokenKey] = []  # noqa: RUF012
    """Further keys, each with its algorithm and `kid`, such as the old and the new one while keys are rotated."""
    token_jwks_public_endpoint: str = ""
    """The address of a JWKS document with public keys (https://...). Read again for a token with an unknown `kid`."""
    token_jwks_refresh: Duration = Duration(600)
    """How often the JWKS document is read, so that withdrawn keys stop working. At least 1 s."""
    token_audience: str = ""
    """What `aud` of every token must be or contain; empty: not checked."""
    token_issuer: str = ""
    """What `iss` of every token must be; empty: not checked."""
    token_nbf_leeway: Duration = Duration(5)
    """How early a token may come before its `nbf`, as the clock of whoever signed it may be ahead of the edge's."""
    insecure: bool = False
    """For tests only: anybody may connect, subscribe, publish and read history; connections do not expire."""
    allow_anonymous_connect_without_token: bool = False
    """Clients without a token may connect, as anonymous ones (with the user id "")."""
    allowed_origins: list[str] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """Origins whose pages may connect, such as "https://*.example.com" (only `*` is special); "*": all. Empty: none."""
    ping_interval: Duration = Duration(25)
    """How often a client is pinged. 0: never; otherwise at least 1 s."""
    pong_timeout: Duration = Duration(8)
    """How long a client may take to answer a ping before it is disconnected (3012). Shorter than `ping_interval`."""
    stale_close_delay: Duration = Duration(10)
    """How long a connection may last without a successful connect command; then it is closed with 3502."""
    expired_close_delay: Duration = Duration(25)
    """How long a connection or subscription has for its refresh after its token expired."""
    slow_close_delay: Duration = Duration(30)
    """How long a client may take nothing at all before it is disconnected as slow (3008)."""
    channel_limit: Count = 128
    """Channels that one client may be subscribed to; a further subscribe gets error 106."""
    channel_max_length: Annotated[int, Meta(ge=1, le=320)] = 255
    """Characters of a channel's name. A character takes up to 12 bytes of a NATS subject, whose line may have 4,096."""
    message_size_limit: Annotated[int, Meta(ge=0)] = 0
    """Bytes of one WebSocket message from a client; a larger one closes the connection with 1009. 0: 65,536, or 512 for
    each channel of `channel_limit`, whichever is more."""
    compression: bool = False
    """WebSockets use permessage-deflate with clients that offer it: less traffic for more CPU."""
    compression_min_bytes: Annotated[int, Meta(ge=0)] = 256
    """Messages shorter than this are not compressed, as they hardly shrink."""
    commands_per_message: Annotated[int, Meta(ge=0)] = 0
    """Commands in one message from a client; more close the connection with 3501. 0: 256, or one more than
    `channel_limit`, whichever is more."""
    queued_commands_limit: Annotated[int, Meta(ge=0)] = 0
    """Commands of one client that may wait. At half of it the edge stops reading; beyond it, it closes. 0: 1,024, or
    twice `commands_per_message`, whichever is more."""
    concurrency: Count = 16
    """RPCs of one client that run at once; further ones wait, and nothing else does. Other commands run one by one."""
    history_max_publication_limit: Count = 300
    """Publications in one reply to a client's history command."""
    recovery_max_publication_limit: Annotated[int, Meta(ge=0)] = 0
    """More missed publications than this are not recovered; 0: as many as the channel's history holds."""
    transports: list[str] = field(default_factory=lambda: ["websocket"])
    """The transports that clients may use: websocket, http_stream, sse, uni_websocket, uni_http_stream, uni_sse."""
    user_connection_limit: Annotated[int, Meta(ge=0)] = 0
    """Connections that one user may have on one edge; one more is closed with 3504. 0: any number."""
    disallow_anonymous_connection_tokens: bool = False
    """Tokens without a user id are refused with 3507."""
    subscribe_to_user_personal_channel: bool = False
    """The server subscribes every client with a user id to "#<user id>"."""
    user_personal_channel_namespace: str = ""
    """The namespace of that channel: "ns" makes it "ns:#<user id>"."""
    rpc_timeout: Duration = Duration(4)
    """How long a backend may take for a client's RPC before the client gets error 100. Less than 4.5 s."""
    allow_send: bool = False
    """Clients may send messages without an answer, which go to `send.<user>` on NATS. Off: they close with 3508."""
    connect_hook: bool = False
    """The backend behind `hook.connect` decides about clients without a token."""
    refresh_hook: bool = False
    """The backend behind `hook.refresh` decides about connections that expire, instead of the client's new token."""
    hook_timeout: Duration = Duration(1)
    """How long the backend may take for `hook.connect` and `hook.refresh`. Less than 4.5 s."""
    hook_when_away: str = "refuse"
    """What happens when no backend answers: "refuse" (error 100, the client tries again) or "allow" (as anonymous)."""

    def __post_init__(self) -> None:
        if self.pong_timeout >= self.ping_interval > 0:
            raise ValueError("expected client.pong_timeout to be shorter than client.ping_interval")
        if self.ping_interval and self.ping_interval < 1:
            raise ValueError("expected client.ping_interval of at least 1 s, or 0 to switch pings off")
        if self.token_jwks_public_endpoint and not is_http_address(self.token_jwks_public_endpoint):
            raise ValueError("expected client.token_jwks_public_endpoint to be an address such as https://host/path")
        if self.token_jwks_refresh < MIN_JWKS_REFRESH_S:
            raise ValueError(f"expected client.token_jwks_refresh of at least {MIN_JWKS_REFRESH_S:g} s")
        unknown = [name for name in self.transports if name not in TRANSPORTS]
        if unknown:
            raise ValueError(f"expected client.transports from {', '.join(TRANSPORTS)}, got {unknown[0]!r}")
        _check_hook("client.", self.hook_timeout, self.hook_when_away)
        if not 0 < self.rpc_timeout < COMMAND_DEADLINE_S:
            raise ValueError(f"expected client.rpc_timeout below {COMMAND_DEADLINE_S} s, when SDKs give up")
        self._derive()

    def _derive(self) -> None:
        """Gives limits that are 0 the room that `channel_limit` asks for."""
        if not self.message_size_limit:
            force_setattr(self, "message_size_limit", max(65536, SUBSCRIBE_BYTES * self.channel_limit))
        if not self.commands_per_message:
            force_setattr(self, "commands_per_message", max(256, self.channel_limit + 1))
        if not self.queued_commands_limit:
            force_setattr(self, "queued_commands_limit", max(1024, 2 * self.commands_per_message))


def _check_hook(where: str, timeout: float, when_away: str) -> None:
    if not 0 < timeout < COMMAND_DEADLINE_S:
        raise ValueError(f"expected {where}hook_timeout below {COMMAND_DEADLINE_S} s, when SDKs give up")
    if when_away not in WHEN_AWAY:
        raise ValueError(f'expected {where}hook_when_away "refuse" or "allow"')


class ChannelOptions(Section, frozen=True):
    """The options of one namespace's channels. Everything is off or forbidden unless it is switched on."""

    history_size: Annotated[int, Meta(ge=0)] = 0
    """Publications kept for each channel. 0: no history, delivery at most once with the lowest latency."""
    history_ttl: Duration = Duration(0)
    """How long a publication is kept. At least 1 s; set together with `history_size`."""
    history_meta_ttl: Duration = Duration(30 * 86_400)
    """How long it is known which publications a channel had, so that a client that missed none of them is told so."""
    history_max_bytes: Annotated[int, Meta(ge=0)] = 0
    """Bytes that all channels of the namespace may take, a fifth of them for the index. 0: an equal share of
    `channel.history_max_bytes`."""
    history_when_full: str = "evict"
    """When they are taken: "evict" the oldest publications of the namespace, or "refuse" new ones (error 106)."""
    force_positioning: bool = False
    """Every subscription is positioned: its client learns when it may have missed something. Needs history."""
    allow_positioning: bool = False
    """Subscribers that ask for it are positioned. Needs history."""
    force_recovery: bool = False
    """Every subscription is recoverable: a client that reconnects gets what it missed. Needs history."""
    allow_recovery: bool = False
    """Subscriptions that ask for it are recoverable. Needs history."""
    allow_subscribe_for_client: bool = False
    """Clients with a user id may subscribe without a subscription token."""
    allow_subscribe_for_anonymous: bool = False
    """Anonymous clients may subscribe as well, where clients with a user id may."""
    allow_publish_for_client: bool = False
    """Clients with a user id may publish."""
    allow_publish_for_subscriber: bool = False
    """Clients with a user id may publish while they are subscribed to the channel."""
    allow_publish_for_anonymous: bool = False
    """Anonymous clients may publish as well, where clients with a user id may."""
    allow_history_for_client: bool = False
    """Clients with a user id may read history."""
    allow_history_for_subscriber: bool = False
    """Clients with a user id may read history while they are subscribed to the channel."""
    allow_history_for_anonymous: bool = False
    """Anonymous clients may read history as well, where clients with a user id may."""
    presence: bool = False
    """The members of a channel can be asked for."""
    allow_presence_for_client: bool = False
    """Clients with a user id may ask for presence."""
    allow_presence_for_subscriber: bool = False
    """Clients with a user id may ask for presence while they are subscribed to the channel."""
    allow_presence_for_anonymous: bool = False
    """Anonymous clients may ask for presence as well, where clients with a user id may."""
    join_leave: bool = False
    """Joins and leaves are sent to subscribers that ask for them, and may (`allow_presence_for_...`)."""
    force_push_join_leave: bool = False
    """Joins and leaves are sent to every subscriber. Needs `join_leave`."""
    allow_user_limited_channels: bool = False
    """"ns:rest#7,8" is for the users 7 and 8, who may subscribe without a subscription token."""
    force_recovery_mode: str = "stream"
    """What recovery brings: "stream", everything that was missed; "cache", only the newest publication."""
    auto_cache_recover: bool = False
    """With "cache": every subscribe brings the newest publication, also the first one. Needs history."""
    allowed_delta_types: list[str] = []  # noqa: RUF012
    """["fossil"]: subscribers that ask for it get publications as differences to the previous one. Needs history."""
    allow_tags_filter: bool = False
    """Subscribers may filter publications by their tags."""
    publication_data_format: str = ""
    """What clients may publish: "" anything, "json" only JSON, "json_object" only JSON objects."""
    subscribe_hook: bool = False
    """The backend behind `hook.subscribe` decides about subscribes without a subscription token."""
    publish_hook: bool = False
    """The backend behind `hook.publish` decides about clients' publishes, and may change them."""
    hook_timeout: Duration = Duration(1)
    """How long the backend may take for these hooks. Less than 4.5 s."""
    hook_when_away: str = "refuse"
    """What happens when no backend answers: "refuse" (error 100, the client tries again) or "allow"."""
    channel_regex: str = ""
    """What the whole part of a name after "namespace:" must match; empty: printable ASCII."""
    publish_rate_limit: Rate = Rate()
    """Publishes of one user (anonymous: of one address) into all these channels, such as "5/s"; then error 111."""
    publish_bytes_rate_limit: Rate = Rate()
    """Bytes of the data that one user publishes into all these channels; then error 111."""
    subscribe_rate_limit: Rate = Rate()
    """Subscribes of one user to these channels; then error 111."""
    slow_client: str = "disconnect"
    """Without history, for a client that cannot take a publication: "disconnect" it, or "drop" the publication."""

    def __post_init__(self) -> None:
        if (self.history_size > 0) != (self.history_ttl > 0):
            raise ValueError("expected history_size and history_ttl to be both set or both 0")
        if 0 < self.history_ttl < 1:
            raise ValueError("expected history_ttl of at least 1 s")
        if self.history_meta_ttl < self.history_ttl:
            raise ValueError("expected history_meta_ttl to be at least history_ttl")
        needing_history = (self.force_positioning, self.allow_positioning, self.force_recovery, self.allow_recovery)
        if any(needing_history) and not self.has_history:
            raise ValueError(
                "expected history_size and history_ttl, without which nothing can be positioned or recovered"
            )
        if self.history_when_full not in WHEN_FULL:
            raise ValueError('expected history_when_full "evict" or "refuse"')
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
        """Whether the channels keep publications."""
        return self.history_size > 0 and self.history_ttl > 0


class Namespace(ChannelOptions, frozen=True, kw_only=True):
    """One namespace: its name, and the options of its channels."""

    name: Annotated[str, Meta(pattern=r"^[-a-zA-Z0-9_.]{2,}\Z", max_length=64)]
    """The part of a channel's name before ":": 2 to 64 letters, digits, "-", "_" and "."."""


class ChannelSection(Section, frozen=True):
    """Channels: their namespaces, and how their history is spread over streams."""

    without_namespace: ChannelOptions = ChannelOptions()
    """Options of channels whose name has no ":"."""
    namespaces: list[Namespace] = []  # noqa: RUF012
    """The namespaces. A channel of any other one is refused with error 102."""
    history_partitions: Annotated[int, Meta(ge=1, le=256)] = 16
    """Streams over which the channels of a namespace are spread. The number is fixed once the streams exist."""
    history_max_bytes: Annotated[int, Meta(ge=1)] = 4 * 1024**3
    """Bytes that the histories of all namespaces may take on NATS's disk, a fifth of them for their indexes."""

    def __post_init__(self) -> None:
        names = [namespace.name for namespace in self.namespaces]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'expected each namespace once, "{twice[0]}" appears twice')


class EdgeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of an edge."""

    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    process: ProcessSettings = ProcessSettings()
    edge: EdgeSection = EdgeSection()
    client: ClientSection = ClientSection()
    channel: ChannelSection = ChannelSection()
    http_api: HttpApiSettings = HttpApiSettings()
    limits: LimitsSection = LimitsSection()
    tracing: TracingSettings = TracingSettings()

    @property
    def name(self) -> str:
        """What operators call this edge."""
        return self.edge.name or f"edge-{self.edge.port}"
