"""The parameters of each method of the server API. Names are Centrifugo's; `answers` has the results.

Types are checked while decoding. Limits that are only in a description (`extra_json_schema`) are checked by the method,
which answers with error 107.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Raw, Struct, field

from proto.codes import MAX_REASON_BYTES
from proto.messages import NO_DATA
from services.edge.grants import Override

MAX_CHANNELS: Final = 1000
"""Channels of one broadcast."""
MAX_COMMANDS: Final = 1000
"""Commands of one batch."""
MAX_KEY_LENGTH: Final = 256
"""Characters of an idempotency key, and of a version epoch."""
MAX_PATTERN_LENGTH: Final = 255
FIRST_CLOSE_CODE: Final = 3000
LAST_CLOSE_CODE: Final = 4999
MAX_OFFSET: Final = 2**64 - 1
"""As in the protocol of clients. Nothing comes after an offset that is larger than those of a log."""
_MAX_INT64: Final = 2**63 - 1


def nothing() -> Raw:
    """The default of a payload, as a factory, so that the OpenAPI description has no default value for it."""
    return NO_DATA


Channel = Annotated[
    str,
    Meta(
        description="In a configured namespace; at most `client.channel_max_length` characters.",
        extra_json_schema={"minLength": 1, "maxLength": 255},
    ),
]
User = Annotated[str, Meta(description="The user's id; empty for anonymous connections.")]
ClientId = Annotated[str, Meta(description="Only this connection of the user.")]
Session = Annotated[str, Meta(description="Only the HTTP stream with this session id.")]
Json = Annotated[Raw, Meta(description="Any JSON.")]
JsonInBase64 = Annotated[str, Meta(description="The same as JSON in base64. Wins over the plain field.")]
UnixTime = Annotated[int, Meta(ge=0, le=2**53, description="Unix time in seconds; 0 for never.")]
Offset = Annotated[int, Meta(ge=0, extra_json_schema={"maximum": MAX_OFFSET})]


class Publishing(Struct, frozen=True, kw_only=True):
    """The parameters that `publish` and `broadcast` have in common."""

    data: Json = field(default_factory=nothing)
    b64data: Annotated[str, Meta(description="Any bytes in base64; wins over `data`. Not for JSON clients.")] = ""
    skip_history: Annotated[bool, Meta(description="Publish without keeping it in the history.")] = False
    tags: Annotated[dict[str, str] | None, Meta(description="Passed to subscribers with the publication.")] = None
    idempotency_key: Annotated[
        str,
        Meta(
            description="A key is published once in a channel; repeated calls return the first result.",
            extra_json_schema={"maxLength": MAX_KEY_LENGTH},
        ),
    ] = ""
    delta: Annotated[
        bool, Meta(description="Accepted and ignored: subscribers that asked for deltas always get them.")
    ] = False
    version: Annotated[
        int,
        Meta(
            ge=0,
            le=_MAX_INT64,
            description="With history: skipped unless greater than the newest publication's version. 0: no version.",
        ),
    ] = 0
    version_epoch: Annotated[
        str,
        Meta(
            description="Only versions of one epoch are compared.",
            extra_json_schema={"maxLength": MAX_KEY_LENGTH},
        ),
    ] = ""


class PublishCall(Publishing, frozen=True, kw_only=True):
    """Publish to one channel."""

    channel: Channel
    key_age: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds since a publication with `idempotency_key` may first have been sent; 0: this is the "
            "first. If keys are not remembered for that long, it is looked up in the history. Error 112: it cannot be "
            "known whether it was published.",
        ),
    ] = 0


class BroadcastCall(Publishing, frozen=True, kw_only=True):
    """Publish the same to several channels."""

    channels: Annotated[
        list[str],
        Meta(
            description="Errors of single channels are in `responses`; the other channels get the publication.",
            extra_json_schema={"minItems": 1, "maxItems": MAX_CHANNELS},
        ),
    ]


class HistoryPosition(Struct, frozen=True):
    """A position in a channel's history."""

    offset: Offset = 0
    epoch: str = ""


class UserCall(Struct, frozen=True, kw_only=True):
    """Selects connections of one user: all of them, or the one with this client id or session id."""

    user: User
    client: ClientId = ""
    session: Session = ""


class SubscribeCall(UserCall, frozen=True, kw_only=True):
    """Subscribe connections to a channel."""

    channel: Channel
    info: Annotated[Raw, Meta(description="Any JSON that others see as `chan_info`.")] = field(default_factory=nothing)
    b64info: JsonInBase64 = ""
    data: Annotated[Raw, Meta(description="Any JSON; sent to the client.")] = field(default_factory=nothing)
    b64data: JsonInBase64 = ""
    recover_since: HistoryPosition | None = None
    expire_at: UnixTime = 0
    override: Override | None = None


class UnsubscribeCall(UserCall, frozen=True, kw_only=True):
    """Unsubscribe connections from a channel, or from all."""

    channel: Annotated[str, Meta(description="Empty: all channels.", extra_json_schema={"maxLength": 255})] = ""


class CustomClose(Struct, frozen=True):
    """A custom close code. SDKs reconnect after 3000-3499 and 4000-4499, and not after the others."""

    code: Annotated[int, Meta(description="3000 to 4999; 3000 sends no close frame. 0 without a reason: 3503.")] = 0
    reason: Annotated[str, Meta(description=f"1 to {MAX_REASON_BYTES} bytes, not JSON.")] = ""


class DisconnectCall(UserCall, frozen=True, kw_only=True):
    """Close connections."""

    whitelist: Annotated[list[str], Meta(description="Client ids that stay connected.")] = []
    disconnect: CustomClose | None = None


class RefreshCall(UserCall, frozen=True, kw_only=True):
    """Set when connections expire."""

    expired: Annotated[bool, Meta(description="Close the connections with 3005, as expired.")] = False
    expire_at: UnixTime = 0
    info: Annotated[Raw, Meta(description="Any JSON: the new `conn_info`.")] = field(default_factory=nothing)


class SendCall(UserCall, frozen=True, kw_only=True):
    """Send a message to connections."""

    data: Json = field(default_factory=nothing)
    b64data: JsonInBase64 = ""


class ChannelCall(Struct, frozen=True):
    """A call about one channel."""

    channel: Channel


class HistoryCall(Struct, frozen=True, kw_only=True):
    """Read a channel's history."""

    channel: Channel
    limit: Annotated[
        int, Meta(ge=-(2**31), le=2**31 - 1, description="Number of publications. 0: only the position; -1: all.")
    ] = 0
    since: HistoryPosition | None = None
    reverse: Annotated[bool, Meta(description="Newest first; with `since`, the ones before it.")] = False


class ChannelsCall(Struct, frozen=True):
    """List channels."""

    pattern: Annotated[
        str,
        Meta(
            description="A glob with `*`, `?`, `[abc]`, `[!abc]`. Empty: all channels.",
            extra_json_schema={"maxLength": MAX_PATTERN_LENGTH},
        ),
    ] = ""


class InfoCall(Struct, frozen=True):
    """List the edges."""


class RpcCall(Struct, frozen=True):
    """Call a backend's method."""

    method: str
    params: Json = field(default_factory=nothing)


class BatchCall(Struct, frozen=True):
    """Several commands. Each is an object with one key, the method, whose value is its call."""

    commands: Annotated[list[dict[str, Raw]], Meta(extra_json_schema={"maxItems": MAX_COMMANDS})]
    parallel: Annotated[bool, Meta(description="Run many at once, in any order. Otherwise one after the other.")] = (
        False
    )


class OldCall(Struct, frozen=True):
    """A call at the single endpoint that old clients use."""

    method: str
    params: Json = field(default_factory=nothing)
