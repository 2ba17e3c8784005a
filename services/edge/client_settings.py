"""The section `client`: who may connect, timeouts, limits, and hooks about connections. Tokens: `token_settings`.

The names of options are Centrifugo's, so that its users know them.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta, field
from msgspec.structs import force_setattr

from services.chassis.process.secret_files import Secret
from services.chassis.process.settings import Count, Duration, Section
from services.edge.hook_settings import COMMAND_DEADLINE_S, NATS, ToDisconnect, check_hook
from services.edge.token_settings import TokenSettings, check_tokens

SUBSCRIBE_BYTES: Final = 512
"""Room for one subscription in a client's first message: its channel, token and position. SDKs that reconnect send
`connect` and all subscriptions in one message."""

TRANSPORTS: Final = ("websocket", "http_stream", "sse", "uni_websocket", "uni_http_stream", "uni_sse")

FULL: Final = "full"
TRUNCATED: Final = "truncated"
HASHED: Final = "hashed"
NONE: Final = "none"
ADDRESSES: Final = (FULL, TRUNCATED, HASHED, NONE)
"""The forms in which session events may contain addresses."""

MIN_ADDRESS_KEY_LENGTH: Final = 32

DETAILS: Final = ("address", "transport", "user_agent", "origin")
"""What session events may contain about a client."""

_HEADER_NAME: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")  # a token of RFC 9110, 5.6.2


class CodeToDisconnect(Section, frozen=True):
    """The close that replaces an error, for clients that cannot receive an error."""

    code: Annotated[int, Meta(ge=100, le=1999)]
    """The error's code."""
    to: ToDisconnect
    """The code and the reason with which the connection ends."""


class ClientSection(TokenSettings, frozen=True):
    """Clients: tokens, who may connect, timeouts, limits, and hooks about connections."""

    insecure: bool = False
    """For tests only: anybody may connect, subscribe, publish and read history; connections do not expire."""
    allow_anonymous_connect_without_token: bool = False
    """Clients without a token may connect, as anonymous ones (with the user id "")."""
    allowed_origins: list[str] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """Origins whose pages may connect, such as "https://*.example.com" (only `*` is special); "*": all. Empty: none."""
    user_id_http_header: str = ""
    """The header in which an authenticating proxy, one of `edge.trusted_proxies`, says who a client without a token is.
    The proxy must replace what clients write there."""
    ping_interval: Duration = Duration(25)
    """How often a client is pinged. 0: never; otherwise at least 1 s."""
    pong_timeout: Duration = Duration(8)
    """How long a client may take to answer a ping before it is disconnected (3012). Shorter than `ping_interval`."""
    stale_close_delay: Duration = Duration(10)
    """How long a connection may last without a successful connect command; then it is closed with 3502."""
    expired_close_delay: Duration = Duration(25)
    """How long a connection has for its refresh after its token expired."""
    expired_sub_close_delay: Duration = Duration(25)
    """The same for a subscription; then the edge ends it (2501)."""
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
    """Commands of one client that may wait. At half of them the edge stops reading; beyond them, it closes the client.
    0: 1,024, or twice `commands_per_message`, whichever is more."""
    concurrency: Count = 16
    """RPCs of one client that run at once; further ones wait, and hold nothing up. Other commands run one by one."""
    history_max_publication_limit: Count = 300
    """Publications in one reply to a client's history command."""
    recovery_max_publication_limit: Annotated[int, Meta(ge=0)] = 0
    """More missed publications than this are not recovered; 0: as many as the channel's history holds."""
    transports: list[str] = field(default_factory=lambda: ["websocket"])
    """The transports that clients may use: websocket, http_stream, sse, uni_websocket, uni_http_stream, uni_sse."""
    user_connection_limit: Annotated[int, Meta(ge=0)] = 0
    """Connections that one user may have on one edge; one more is closed with 3504. 0: any number."""
    single_connection: bool = False
    """A user's newest connection closes the user's others, on all edges, with 3504."""
    disallow_anonymous_connection_tokens: bool = False
    """Tokens without a user id are refused with 3507."""
    connect_include_server_time: bool = False
    """The reply to a connect has the edge's time (`time`, in Unix milliseconds), for clients whose clocks are off."""
    session_event_details: list[str] = []  # noqa: RUF012
    """What session events contain about a client that connects: address, transport, user_agent, origin. They are
    stored, and some are personal data."""
    session_addresses: str = FULL
    """The form of addresses in session events, if `session_event_details` names them: "full"; "truncated" to the
    network (/24, IPv6 /48); "hashed" with `session_address_key`, so that one address always has the same digest;
    "none"."""
    session_address_key: Secret = ""
    """The key of these digests, which only the edges know, at least 32 characters. With another key, digests differ."""
    subscribe_to_user_personal_channel: bool = False
    """The server subscribes every client with a user id to "#<user id>"."""
    user_personal_channel_namespace: str = ""
    """The namespace of that channel: "ns" makes it "ns:#<user id>"."""
    rpc_timeout: Duration = Duration(4)
    """How long a backend may take for a client's RPC before the client gets error 100. Less than 4.5 s."""
    allow_send: bool = False
    """Clients may send messages without an answer, which go to `send.<user>` on NATS. Off: a send closes with 3508."""
    connect_hook: bool = False
    """A backend decides about clients without a token."""
    connect_backend: str = NATS
    """The backend that decides: the name of one of `backends`, or "nats" for whoever subscribes to `hook.connect`."""
    refresh_hook: bool = False
    """A backend decides about connections that expire, instead of the client's new token."""
    refresh_backend: str = NATS
    """The backend that decides: the name of one of `backends`, or "nats" for whoever subscribes to `hook.refresh`."""
    hook_timeout: Duration = Duration(1)
    """How long the backend may take for these two hooks. Less than 4.5 s."""
    hook_when_away: str = "refuse"
    """What happens when no backend answers: "refuse" (error 100, the client tries again) or "allow" (as anonymous)."""

    connect_code_to_unidirectional_disconnect: list[CodeToDisconnect] = []  # noqa: RUF012
    """How a one-way connection ends if its connect fails with one of these errors, instead of 3004 and the like."""

    def __post_init__(self) -> None:
        if self.pong_timeout >= self.ping_interval > 0:
            raise ValueError("expected client.pong_timeout to be shorter than client.ping_interval")
        if self.ping_interval and self.ping_interval < 1:
            raise ValueError("expected client.ping_interval of at least 1 s, or 0 to switch pings off")
        check_tokens(self)
        unknown = [name for name in self.transports if name not in TRANSPORTS]
        if unknown:
            raise ValueError(f"expected client.transports from {', '.join(TRANSPORTS)}, got {unknown[0]!r}")
        if self.user_id_http_header and not _HEADER_NAME.fullmatch(self.user_id_http_header):
            raise ValueError('expected client.user_id_http_header to be the name of a header, such as "X-Auth-User"')
        unknown = [name for name in self.session_event_details if name not in DETAILS]
        if unknown:
            raise ValueError(f"expected client.session_event_details from {', '.join(DETAILS)}, got {unknown[0]!r}")
        if self.session_addresses not in ADDRESSES:
            are = ", ".join(ADDRESSES)
            raise ValueError(f"expected client.session_addresses to be one of {are}, got {self.session_addresses!r}")
        if self.session_addresses == HASHED and len(self.session_address_key) < MIN_ADDRESS_KEY_LENGTH:
            raise ValueError(
                f"expected client.session_address_key of at least {MIN_ADDRESS_KEY_LENGTH} characters, as "
                'client.session_addresses is "hashed"'
            )
        codes = [each.code for each in self.connect_code_to_unidirectional_disconnect]
        if len(set(codes)) != len(codes):
            raise ValueError("expected each code once in client.connect_code_to_unidirectional_disconnect")
        check_hook("client.", self.hook_timeout, self.hook_when_away)
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
