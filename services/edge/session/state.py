"""The state of one client's session. Only the modules of this folder change it."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from proto.commands import ConnectRequest
from proto.messages import NO_DATA, ClientInfo
from services.chassis.process.log_fields import about
from services.chassis.tracing.span import Span
from services.edge.arrival import NO_HEADERS, UNKNOWN, Arrival
from services.edge.backend.backend import Caller
from services.edge.backend.question_headers import emulated
from services.edge.channels.namespaces import ChannelRules, Requester, check_length, check_name
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import Format
from services.edge.session.policy import CurrentPolicy, Policy
from services.edge.tokens.tokens import Identity, SubscriptionClaims

_NAME_LENGTH: Final = 16
_VERSION_LENGTH: Final = 64


class Phase(Enum):
    """The phases of a session. `lifecycle` shows the transitions."""

    NEW = 1
    CONNECTING = 2
    CONNECTED = 3
    REFUSED = 4
    CLOSED = 5


# Python 3.11 takes 80 ns to look up a member of an enumeration, and every command compares the phase a few times.
NEW: Final = Phase.NEW
CONNECTING: Final = Phase.CONNECTING
CONNECTED: Final = Phase.CONNECTED
REFUSED: Final = Phase.REFUSED
CLOSED: Final = Phase.CLOSED


ANONYMOUS: Final = Identity()
"""The identity of an anonymous client, and of one that has not connected yet."""


class SessionState:
    """One client: its identity and its subscriptions.

    `id` is the client id that others see; `current` holds the policy. `emulation_session` is the secret by which
    separate HTTP requests send commands of this client, "" on a WebSocket. `native_pings`: the client asked for
    WebSocket pings in place of the protocol's own. `address` is its address as `door.counted_as` makes it, "" if that
    is not known; `arrival` is the request with which it came, `emulated` the headers of its connect command for
    backends.
    `admitted_at` is when it was let in, in Unix milliseconds, 0 before and without `client.single_connection`. `trace`
    is the span of the command that is being handled, None if that is not traced; an action takes it over.
    """

    __slots__ = (
        "address",
        "admitted_at",
        "arrival",
        "channels",
        "current",
        "emulated",
        "emulation_session",
        "format",
        "id",
        "identity",
        "name",
        "native_pings",
        "trace",
        "version",
    )

    def __init__(
        self,
        client_id: str,
        current: CurrentPolicy,
        format: Format,
        emulation_session: str = "",
        native_pings: bool = False,
        address: str = "",
        arrival: Arrival = UNKNOWN,
    ) -> None:
        self.id = client_id
        self.current = current
        self.format = format
        self.emulation_session = emulation_session
        self.native_pings = native_pings
        self.address = address
        self.arrival = arrival
        self.emulated = NO_HEADERS
        self.trace: Span | None = None
        self.identity = ANONYMOUS
        self.name = ""
        self.version = ""
        self.admitted_at = 0
        self.channels: dict[str, Subscription] = {}

    @property
    def policy(self) -> Policy:
        """The policy by which decisions about the client are made now."""
        return self.current.policy

    @property
    def answers_pings(self) -> bool:
        """Whether the client has to answer the protocol's own pings."""
        return self.policy.section.ping_interval > 0 and not self.native_pings and not self.format.unidirectional

    @property
    def requester(self) -> Requester:
        """The client, as the checks of permissions see it."""
        return Requester(user=self.identity.user, insecure=self.policy.section.insecure)

    @property
    def account(self) -> str:
        """Whose limits the client's commands count against besides its own: its user's, or those of all anonymous
        clients of its address."""
        return self.identity.user or (self.address and f"\0{self.address}")

    @property
    def caller(self) -> Caller:
        """The client, as backends see it."""
        identity, format = self.identity, self.format
        transport, encoding = format.transport, format.codec.name
        return Caller(
            identity.user, self.id, identity.info, identity.meta, transport, encoding, self.arrival, self.emulated
        )

    def about(self, channel: str = "", code: int = 0, method: str = "") -> dict[str, object]:
        """The fields of a log record about the client."""
        user = self.identity.user
        return about(client=self.id, user=user, channel=channel, code=code, address=self.address, method=method)

    def unix(self, now: float) -> float:
        """Unix time by the wall clock of this moment, which is `now` in the edge's own time."""
        return now + self.policy.clock_ahead()

    def rules(self, channel: str) -> ChannelRules:
        """The rules of a channel that the client may name. Raises `Rejected`."""
        namespaces = self.policy.namespaces
        check_length(channel, self.policy.section.channel_max_length)
        rules = namespaces.rules(channel)
        if channel not in self.channels:
            check_name(channel, rules)
        return rules

    def matches(self, claims: SubscriptionClaims, channel: str) -> bool:
        """Whether a subscription token is for this channel, user and connection."""
        return claims.channel == channel and claims.user == self.identity.user and claims.client in ("", self.id)

    def info(self, chan_info: Raw = NO_DATA) -> ClientInfo:
        """The client, as the members of a channel see it."""
        identity = self.identity
        return ClientInfo(user=identity.user, client=self.id, conn_info=identity.info, chan_info=chan_info)

    def trace_by(self, span: Span | None) -> None:
        """Sets the span that traces what is handled now; None: it is not traced."""
        self.trace = span

    def admit(self, identity: Identity, at: int = 0) -> None:
        """Sets the client's identity; `at` is when it was let in, in Unix milliseconds, 0 before that is decided."""
        self.identity = identity
        self.admitted_at = at

    def introduce(self, request: ConnectRequest) -> None:
        """Keeps what the client says about itself: the name and version of its software, truncated, and the headers of
        its connect command that backends get. Raises `Rejected`."""
        self.name, self.version = request.name[:_NAME_LENGTH], request.version[:_VERSION_LENGTH]
        self.emulated = emulated(request.headers, self.policy.emulated_headers)

    def renew(self, identity: Identity) -> None:
        """Replaces the identity with a newer one of the same user; keeps `info` and `meta` if the new one has none."""
        kept: dict[str, Raw] = {}
        if not bytes(identity.info):
            kept["info"] = self.identity.info
        if not bytes(identity.meta):
            kept["meta"] = self.identity.meta
        self.identity = replace(identity, **kept)
        for subscription in self.channels.values():
            subscription.show(self.identity.info)

    def extend(self, expires_at: int, info: Raw | None = None, meta: Raw | None = None) -> None:
        """Sets the connection's expiry (Unix seconds, 0: never), and replaces `info` and `meta` if they are given."""
        self.renew(replace(self.identity, expires_at=expires_at, info=info or NO_DATA, meta=meta or NO_DATA))
