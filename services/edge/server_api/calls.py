"""What each method of the server API takes. Names are Centrifugo's; see `answers` for what comes back.

Types are checked while decoding. Limits that stand in a description alone (`extra_json_schema`) are checked by the
method, which answers with error 107.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Raw, Struct, field

from proto.codes import MAX_REASON_BYTES
from proto.messages import NO_DATA
from services.edge.grants import Override

MAX_CHANNELS: Final = 1000
"""Channels in one broadcast."""
MAX_COMMANDS: Final = 1000
"""Commands in one batch."""
MAX_KEY_LENGTH: Final = 256
"""Characters of an idempotency key, and of a version epoch."""
MAX_PATTERN_LENGTH: Final = 255
FIRST_CLOSE_CODE: Final = 3000
LAST_CLOSE_CODE: Final = 4999
_MAX_INT64: Final = 2**63 - 1


def nothing() -> Raw:
    """The default of a payload, in a form that the description of a struct can leave out."""
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
JsonInBase64 = Annotated[str, Meta(description="The same, as JSON in base64; it wins.")]
UnixTime = Annotated[int, Meta(ge=0, le=2**53, description="Unix time in seconds; 0 for never.")]
Offset = Annotated[int, Meta(ge=0, le=_MAX_INT64 - 1)]


class Publishing(Struct, frozen=True, kw_only=True):
    """What `publish` and `broadcast` have in common."""

    data: Json = field(default_factory=nothing)
    b64data: Annotated[str, Meta(description="Any bytes in base64; wins over `data`. Not for JSON clients.")] = ""
    skip_history: Annotated[bool, Meta(description="Published, but not kept.")] = False
    tags: Annotated[dict[str, str] | None, Meta(description="Handed to subscribers with the publication.")] = None
    idempotency_key: Annotated[
        str,
        Meta(
            description="The same key in the same channel is published once; the answer is the first one's.",
            extra_json_schema={"maxLength": MAX_KEY_LENGTH},
        ),
    ] = ""
    delta: Annotated[bool, Meta(description="Taken and ignored: subscribers with deltas always get them.")] = False
    version: Annotated[
        int,
        Meta(
            ge=0,
            le=_MAX_INT64,
            description="With history: left out unless greater than the newest publication's. 0 for none.",
        ),
    ] = 0
    version_epoch: Annotated[
        str,
        Meta(
            description="Versions are compared within one epoch.",
            extra_json_schema={"maxLength": MAX_KEY_LENGTH},
        ),
    ] = ""


class PublishCall(Publishing, frozen=True, kw_only=True):
    channel: Channel


class BroadcastCall(Publishing, frozen=True, kw_only=True):
    channels: Annotated[
        list[str],
        Meta(
            description="One that cannot be published to is told in the answer, and the others are.",
            extra_json_schema={"minItems": 1, "maxItems": MAX_CHANNELS},
        ),
    ]


class HistoryPosition(Struct, frozen=True):
    """A place in a channel's history."""

    offset: Offset = 0
    epoch: str = ""


class UserCall(Struct, frozen=True, kw_only=True):
    """Connections of one user: all of them, or those of one client id or session id."""

    user: User
    client: ClientId = ""
    session: Session = ""


class SubscribeCall(UserCall, frozen=True, kw_only=True):
    channel: Channel
    info: Annotated[Raw, Meta(description="Any JSON that others see as `chan_info`.")] = field(default_factory=nothing)
    b64info: JsonInBase64 = ""
    data: Annotated[Raw, Meta(description="Any JSON, for the client.")] = field(default_factory=nothing)
    b64data: JsonInBase64 = ""
    recover_since: HistoryPosition | None = None
    expire_at: UnixTime = 0
    override: Override | None = None


class UnsubscribeCall(UserCall, frozen=True, kw_only=True):
    channel: Annotated[str, Meta(description="Empty: every channel.", extra_json_schema={"maxLength": 255})] = ""


class Goodbye(Struct, frozen=True):
    """A close code of one's own. SDKs come back after 3000-3499 and 4000-4499, and stay away after the others."""

    code: Annotated[int, Meta(description="3000 to 4999; with 0 and no reason it is 3503.")] = 0
    reason: Annotated[str, Meta(description=f"1 to {MAX_REASON_BYTES} bytes that are not JSON.")] = ""


class DisconnectCall(UserCall, frozen=True, kw_only=True):
    whitelist: Annotated[list[str], Meta(description="Client ids that stay.")] = []
    disconnect: Goodbye | None = None


class RefreshCall(UserCall, frozen=True, kw_only=True):
    expired: Annotated[bool, Meta(description="It has expired: close it with 3005.")] = False
    expire_at: UnixTime = 0
    info: Annotated[Raw, Meta(description="Any JSON; the new `conn_info`.")] = field(default_factory=nothing)


class SendCall(UserCall, frozen=True, kw_only=True):
    data: Json = field(default_factory=nothing)
    b64data: JsonInBase64 = ""


class ChannelCall(Struct, frozen=True):
    channel: Channel


class HistoryCall(Struct, frozen=True, kw_only=True):
    channel: Channel
    limit: Annotated[
        int, Meta(ge=-(2**31), le=2**31 - 1, description="Publications; 0: the position only, -1: all that is kept.")
    ] = 0
    since: HistoryPosition | None = None
    reverse: Annotated[bool, Meta(description="Newest first; with `since`, those before it.")] = False


class ChannelsCall(Struct, frozen=True):
    pattern: Annotated[
        str,
        Meta(
            description="`*`, `?`, `[abc]` and `[!abc]`; empty for all.",
            extra_json_schema={"maxLength": MAX_PATTERN_LENGTH},
        ),
    ] = ""


class InfoCall(Struct, frozen=True):
    pass


class RpcCall(Struct, frozen=True):
    method: str
    params: Json = field(default_factory=nothing)


class BatchCall(Struct, frozen=True):
    """Each command is an object with one key, the method, and its call."""

    commands: Annotated[list[dict[str, Raw]], Meta(extra_json_schema={"maxItems": MAX_COMMANDS})]
    parallel: Annotated[bool, Meta(description="Many at once, in any order; else one after the other.")] = False


class OldCall(Struct, frozen=True):
    """What the one endpoint of old clients takes."""

    method: str
    params: Json = field(default_factory=nothing)
