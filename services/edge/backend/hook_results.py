"""The results of hooks: what a backend may decide about a client. docs/hooks.md describes them.

`info` is shown to other clients, `data` is sent to the client itself, and only backends see `meta`. All three are JSON,
or empty; `data` for a Protobuf client may be any bytes. Times are Unix seconds, 0 for never.
"""

from __future__ import annotations

from msgspec import Raw, Struct

from proto.codes import CloseCode, ErrorCode
from proto.messages import NO_DATA
from proto.publications import Version
from services.edge.grants import Grant


class Refused(Struct, frozen=True):
    """The client gets this error. `why`: why the backend's answer is unusable; the log has it already."""

    error: ErrorCode
    why: str = ""


class Disconnected(Struct, frozen=True):
    """The connection is closed with this code."""

    close: CloseCode


class Unauthenticated(Struct, frozen=True):
    """The backend does not know who connects: the client is treated as if there were no hook."""


class Admitted(Struct, frozen=True):
    """The client may connect, as `user`, and is subscribed to the channels of `subs`.

    `connection_limit` is how many connections the user may have on one edge, 0 for the limit of the settings.
    """

    user: str = ""
    expires_at: int = 0
    info: Raw = NO_DATA
    data: Raw = NO_DATA
    meta: Raw = NO_DATA
    subs: dict[str, Grant] = {}
    connection_limit: int = 0


class Accepted(Struct, frozen=True):
    """The publication is published, with `data` as its payload unless that is None.

    `key`: a publication with this key is published once; "" for no key. With a `version`, it is published only if that
    is newer than the version of the channel's newest publication.
    """

    data: bytes | None = None
    skip_history: bool = False
    tags: dict[str, str] = {}
    key: str = ""
    version: Version | None = None


class Extended(Struct, frozen=True):
    """The connection or subscription is extended until `expires_at`. An empty `info` or `meta` stays as it was."""

    expires_at: int = 0
    info: Raw = NO_DATA
    meta: Raw = NO_DATA


class Expired(Struct, frozen=True):
    """The connection, or the subscription, has expired."""


ConnectHookResult = Admitted | Unauthenticated | Refused | Disconnected
SubscribeHookResult = Grant | Refused | Disconnected
PublishHookResult = Accepted | Refused | Disconnected
RefreshHookResult = Extended | Expired | Refused | Disconnected
