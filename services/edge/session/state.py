"""What a session knows of its client. The modules of commands read it; only `session` and its timers change it."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from proto.messages import NO_DATA, ClientInfo
from services.edge.backend.backend import Caller
from services.edge.channels.namespaces import ChannelRules, Requester, check_length, check_name
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import Format
from services.edge.session.policy import Policy
from services.edge.tokens.tokens import Identity, SubscriptionClaims

_NAME_LENGTH: Final = 16
_VERSION_LENGTH: Final = 64


class Phase(Enum):
    """How far a session has come."""

    NEW = 1
    CONNECTING = 2
    CONNECTED = 3
    REFUSED = 4
    CLOSED = 5


# Python 3.11 takes 80 ns to look up a member of an enumeration, and every command asks a few times.
NEW: Final = Phase.NEW
CONNECTING: Final = Phase.CONNECTING
CONNECTED: Final = Phase.CONNECTED
REFUSED: Final = Phase.REFUSED
CLOSED: Final = Phase.CLOSED


NOBODY: Final = Identity()
"""Of a client that has not connected yet, and of an anonymous one."""


class SessionState:
    """One client: who it is, and what it is subscribed to.

    `id` is the client id that others see. `emulation_session` is the secret by which requests that are not the
    transport's own name this client, "" where there are none. `native_pings`: the client asked for WebSocket pings in
    place of the protocol's own.
    """

    __slots__ = (
        "channels",
        "emulation_session",
        "format",
        "id",
        "identity",
        "name",
        "native_pings",
        "policy",
        "version",
    )

    def __init__(
        self,
        client_id: str,
        policy: Policy,
        format: Format,
        emulation_session: str = "",
        native_pings: bool = False,
    ) -> None:
        self.id = client_id
        self.policy = policy
        self.format = format
        self.emulation_session = emulation_session
        self.native_pings = native_pings
        self.identity = NOBODY
        self.name = ""
        self.version = ""
        self.channels: dict[str, Subscription] = {}

    @property
    def answers_pings(self) -> bool:
        """Whether the client has to answer the protocol's own pings."""
        return self.policy.section.ping_interval > 0 and not self.native_pings and not self.format.unidirectional

    @property
    def requester(self) -> Requester:
        """For whom the permissions of a namespace are asked."""
        return Requester(user=self.identity.user, insecure=self.policy.section.insecure)

    @property
    def caller(self) -> Caller:
        """For whom a backend is asked."""
        identity, format = self.identity, self.format
        return Caller(identity.user, self.id, identity.info, identity.meta, format.transport, format.codec.name)

    def rules(self, channel: str) -> ChannelRules:
        """The rules of a channel that the client may name. Raises `Rejected`."""
        namespaces = self.policy.namespaces
        check_length(channel, self.policy.section.channel_max_length)
        rules = namespaces.rules(channel)
        if channel not in self.channels:
            check_name(channel, rules)
        return rules

    def is_meant_by(self, claims: SubscriptionClaims, channel: str) -> bool:
        """Whether a subscription token is for this channel, user and connection."""
        return claims.channel == channel and claims.user == self.identity.user and claims.client in ("", self.id)

    def info(self, chan_info: Raw = NO_DATA) -> ClientInfo:
        """What others see of this client."""
        identity = self.identity
        return ClientInfo(user=identity.user, client=self.id, conn_info=identity.info, chan_info=chan_info)

    def admit(self, identity: Identity) -> None:
        """The client is this one."""
        self.identity = identity

    def name_software(self, name: str, version: str) -> None:
        """The client runs this software, as it says."""
        self.name, self.version = name[:_NAME_LENGTH], version[:_VERSION_LENGTH]

    def extend(self, expires_at: int, info: Raw | None = None, meta: Raw | None = None) -> None:
        """The connection expires at `expires_at` (Unix seconds, 0: never), and the client has this info from now on."""
        changes: dict[str, Raw] = {}
        if info is not None and bytes(info):
            changes["info"] = info
            for subscription in self.channels.values():
                subscription.show(info)
        if meta is not None and bytes(meta):
            changes["meta"] = meta
        self.identity = replace(self.identity, expires_at=expires_at, **changes)
