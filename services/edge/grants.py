"""What a subscription is granted beyond its namespace, by a token, a hook's answer or a backend's call. Pure."""

from __future__ import annotations

import base64
import math
from typing import Final

from msgspec import Raw, Struct

from proto.codec import payload
from proto.messages import NO_DATA
from proto.nesting import TooDeep

MAX_TTL_S: Final = 365 * 24 * 3600  # longer ones are clamped to this, a limit of the timers in SDKs


class Switch(Struct, frozen=True):
    """One overridden option, in the form in which tokens and backends write it: {"value": true}."""

    value: bool = False


class Override(Struct, frozen=True, omit_defaults=True):
    """Options that replace the namespace's for one subscription. None: as in the namespace."""

    presence: Switch | None = None
    join_leave: Switch | None = None
    force_push_join_leave: Switch | None = None
    force_recovery: Switch | None = None
    force_positioning: Switch | None = None


class Grant(Struct, frozen=True, omit_defaults=True):
    """A subscription's own terms. `info` is shown to others (`chan_info`), `data` is sent to the subscriber with its
    reply.

    Both are JSON, or empty; the `data` of a hook's answer to a Protobuf client may be any bytes. `expires_at` is in
    Unix seconds, 0 for never. `cache_recover`: in a channel that is a cache, the subscriber gets the newest publication
    without asking for it.
    """

    info: Raw = NO_DATA
    data: Raw = NO_DATA
    expires_at: int = 0
    override: Override = Override()
    cache_recover: bool = False


class Terms(Struct, frozen=True):
    """A grant as tokens, hooks and backends write it. The base64 fields take precedence, as with Centrifugo."""

    info: Raw = NO_DATA
    b64info: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    override: Override | None = None


def seconds_left(expires_at: int, now: float) -> int:
    """The `ttl` for SDKs, in seconds, rounded up: at least 1, or 0 for something that never expires."""
    return max(1, min(MAX_TTL_S, math.ceil(expires_at - now))) if expires_at else 0


def grant_from(terms: Terms, expires_at: int = 0) -> Grant:
    """The grant that `terms` describe. Raises ValueError, which names the field, if a payload is not JSON."""
    return Grant(
        info=json_field("info", terms.info, terms.b64info),
        data=json_field("data", terms.data, terms.b64data),
        expires_at=expires_at,
        override=terms.override or Override(),
    )


def json_field(name: str, plain: Raw, encoded: str = "") -> Raw:
    """A payload that is written as a JSON value, or as JSON in base64; empty for null.

    The result does not keep the rest of its message alive. Raises ValueError or `TooDeep`, which name the field.
    """
    try:
        if encoded:
            return payload(base64.b64decode(encoded, validate=True))
        data = bytes(plain)
        return NO_DATA if data in (b"", b"null") else payload(data)
    except TooDeep:
        raise TooDeep(f"b64{name}" if encoded else name) from None
    except ValueError:
        raise ValueError(f"b64{name} is not JSON in base64" if encoded else f"{name} is not JSON") from None
