"""What the messages of the Centrifuge client protocol (v2) have in common: their base, and the objects that they share.

`commands` has what clients send, `replies` what they receive, all as frozen structs: one set of types for both
encodings. Field names are the JSON names; `codec_protobuf` has their numbers. An absent field has its default, and
defaults are left out of encoded messages, except in the structs without ``omit_defaults``, whose fields SDKs read even
if they are zero. Map and shared-poll subscriptions are not offered, so their fields are missing. `docs/protocol.md`
says what Fairlead does differently from Centrifugo.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Uint32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Uint64 = Annotated[int, Meta(ge=0)]  # msgspec has no upper bound beyond int64; JetStream sequences stay below it
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]

NO_DATA = Raw(b"")
"""No payload. `Raw` holds the bytes of a payload, which are passed on and never decoded: in JSON an embedded value, in
Protobuf any bytes."""


class Message(Struct, frozen=True, omit_defaults=True):
    """Base of most messages: immutable, encoded without fields that have their default."""


class ClientInfo(Struct, frozen=True, omit_defaults=True):
    """A client as others see it: a member of a channel, or the publisher of a publication."""

    user: str | UnsetType = UNSET
    """The user id, "" for an anonymous client. SDKs expect the field even then, hence the default UNSET instead of
    ""."""
    client: str | UnsetType = UNSET
    """The client id."""
    conn_info: Raw = NO_DATA
    """Custom data of the connection, from its token or the connect hook."""
    chan_info: Raw = NO_DATA
    """Custom data of the subscription, from its token or the subscribe hook."""


class Publication(Message, frozen=True):
    """One publication of a channel."""

    data: Raw
    """The payload; if `delta` is set, a Fossil delta against the payload of the channel's previous publication."""
    info: ClientInfo | None = None
    """The publisher, if it was a client."""
    offset: Uint64 = 0
    """Its place in the channel's log, 0 in a channel without history."""
    tags: dict[str, str] | None = None
    delta: bool = False


class StreamPosition(Message, frozen=True):
    """A position in a channel's log: an offset, and the epoch (the identity of the log) to which it belongs."""

    offset: Uint64 = 0
    epoch: str = ""


class Error(Message, frozen=True):
    """An error reply, see `proto.codes`; the connection stays open. Neither field is empty: SDKs index both."""

    code: Uint32
    message: str
    temporary: bool = False


class FilterNode(Message, frozen=True):
    """A node of a tags filter: a comparison of one tag, or a combination of nodes. See the edge's `tags_filter`."""

    op: str = ""
    """Empty for a comparison; "and", "or" or "not" for a combination of `nodes`."""
    key: str = ""
    """The name of the tag that is compared."""
    cmp: str = ""
    """One of "eq", "neq", "in", "nin", "ex" (exists), "nex", "sw" (starts with), "ew", "ct" (contains), and for decimal
    numbers "gt", "gte", "lt", "lte"."""
    val: str = ""
    """The operand of `cmp`."""
    vals: list[str] = []
    """The operands of "in" and "nin"."""
    nodes: list[FilterNode] = []
    """The combined nodes; exactly one for "not"."""
