"""What a backend may decide when an edge asks it about a client: the results of hooks. docs/hooks.md says when.

Of `info` and `data`, others see the one, and the client itself gets the other; `meta` is for backends alone. All three
are JSON, or empty.
"""

from __future__ import annotations

from msgspec import Raw, Struct

from proto.codes import CloseCode, ErrorCode
from proto.messages import NO_DATA
from services.edge.grants import Grant


class Refused(Struct, frozen=True):
    """The client gets this error."""

    error: ErrorCode


class Disconnected(Struct, frozen=True):
    """The connection ends."""

    close: CloseCode


class Unauthenticated(Struct, frozen=True):
    """The backend does not know who connects: the client is treated as if there were no hook."""


class Admitted(Struct, frozen=True):
    """The client may connect, as `user`, and is subscribed to the channels of `subs`."""

    user: str = ""
    expires_at: int = 0
    info: Raw = NO_DATA
    data: Raw = NO_DATA
    meta: Raw = NO_DATA
    subs: dict[str, Grant] = {}


class Accepted(Struct, frozen=True):
    """The publication is published; `data` takes the place of its payload if it is not None."""

    data: bytes | None = None
    skip_history: bool = False
    tags: dict[str, str] = {}


class Extended(Struct, frozen=True):
    """The connection goes on until `expires_at`. `info` and `meta` are new, or empty: as they were."""

    expires_at: int = 0
    info: Raw = NO_DATA
    meta: Raw = NO_DATA


class Expired(Struct, frozen=True):
    """The connection's time is over."""


ConnectHookResult = Admitted | Unauthenticated | Refused | Disconnected
SubscribeHookResult = Grant | Refused | Disconnected
PublishHookResult = Accepted | Refused | Disconnected
RefreshHookResult = Extended | Expired | Refused | Disconnected
