"""One client's side of the conversation: a state machine that decides and does no I/O. Reads no clock.

    NEW --connect ok--> CONNECTED --close--> (the connection is gone)
     '--connect refused with an error--> REFUSED: the client is expected to leave, whatever it still says is ignored

`handle` takes one command and returns the one action that answers it. Where that needs the cluster or a backend, the
connection asks, and makes the reply of what comes back or hands it to `decided`. `due` is asked when `deadline` has
passed: one number instead of a timer for each of stale, ping, pong and expiry. What concerns one channel is decided in
`channel_commands` and `publish_commands`.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from proto import codes
from proto.codes import CloseCode, ErrorCode
from proto.commands import (
    Command,
    ConnectRequest,
    HistoryRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    RPCRequest,
    SendRequest,
    SubRefreshRequest,
    SubscribeRequest,
    UnsubscribeRequest,
    request_of,
)
from proto.messages import NO_DATA, ClientInfo
from proto.replies import ConnectResult, RefreshResult, reply_to
from services.edge.backend import hook_questions, hook_results
from services.edge.backend.backend import Caller
from services.edge.backend.hook_results import Admitted, Unauthenticated
from services.edge.channels.namespaces import Requester
from services.edge.channels.subscription import Subscription
from services.edge.clients import channel_commands, publish_commands
from services.edge.clients.actions import (
    Action,
    Answer,
    AskHook,
    CallBackend,
    Close,
    Connected,
    EndSubscription,
    HookResult,
    LearnKey,
    Nothing,
    Ping,
    SendToBackend,
    TimedAction,
    error_reply,
)
from services.edge.clients.policy import Policy
from services.edge.framing.formats import Format
from services.edge.grants import Grant, seconds_left
from services.edge.tokens.tokens import ExpiredToken, Identity, InvalidToken, UnknownKey

_ASK_REFRESH_AGAIN_S: Final = 5.0

_NOTHING = Nothing()
_AS_CLOSE: Final = {
    codes.TOKEN_EXPIRED.code: codes.CONNECTION_EXPIRED,
    codes.EXPIRED.code: codes.CONNECTION_EXPIRED,
    codes.TOO_MANY_REQUESTS.code: codes.TOO_MANY_REQUESTS_CLOSE,
    codes.PERMISSION_DENIED.code: codes.PERMISSION_DENIED_CLOSE,
}
"""A unidirectional client gets no replies: an error of its connect is the end of the connection."""


class State(Enum):
    NEW = 1
    CONNECTED = 2
    REFUSED = 3


class Client:
    """See the module. Times are Unix seconds; `jitter` in [0, 1) spreads the first ping."""

    __slots__ = (
        "_ask_refresh_at",
        "_awaits_pong",
        "_pong_or_ping_at",
        "_stale_at",
        "channels",
        "format",
        "id",
        "identity",
        "jitter",
        "name",
        "native_pings",
        "policy",
        "state",
        "version",
    )

    def __init__(self, client_id: str, policy: Policy, format: Format, now: float, jitter: float) -> None:
        self.id = client_id
        self.state = State.NEW
        self.identity = Identity()
        self.name = ""
        self.version = ""
        self.jitter = jitter
        self.format = format
        self.channels: dict[str, Subscription] = {}
        self.policy = policy
        self.native_pings = False  # WebSocket pings in place of the protocol's own
        self._awaits_pong = False
        self._ask_refresh_at = 0.0  # when the refresh hook is asked (again)
        self._stale_at = now + policy.section.stale_close_delay
        self._pong_or_ping_at = 0.0  # 0: pings are off, or not connected yet

    # --- commands ----------------------------------------------------------------------------------------------------

    def handle(self, command: Command, now: float) -> Action:
        """What to do about `command`, received at `now`."""
        try:
            return self._handle(command, now)
        except UnknownKey as error:
            return LearnKey(command, error.kid)

    def handle_again(self, command: Command, now: float, *, keys_are_fresh: bool) -> Action:
        """The same after a `LearnKey`. Where the keys could not be read anew, the client shall come again."""
        try:
            return self._handle(command, now)
        except UnknownKey:
            connects = self.state is State.NEW
            if keys_are_fresh and command.subscribe is not None and not connects:
                return Answer(error_reply(command.id, codes.PERMISSION_DENIED))
            if keys_are_fresh:
                return Close(codes.INVALID_TOKEN, "its key is unknown")
            if connects:
                return self._refuse(command.id, codes.INTERNAL)
            return Answer(error_reply(command.id, codes.INTERNAL))

    def _handle(self, command: Command, now: float) -> Action:
        if self.state is State.REFUSED:
            return _NOTHING
        request = request_of(command)
        if self.state is State.NEW:
            if isinstance(request, ConnectRequest) and command.id:
                return self._connect(command, request, now)
            return Close(codes.BAD_REQUEST_CLOSE, "a command before connect")
        if not command.id and not isinstance(request, SendRequest):
            return self._pong(now)
        match request:
            case SubscribeRequest():
                return channel_commands.subscribe(self, command, request, now)
            case UnsubscribeRequest():
                return channel_commands.unsubscribe(self, command.id, request)
            case PublishRequest():
                return publish_commands.publish(self, command, request)
            case HistoryRequest():
                return channel_commands.history(self, command.id, request)
            case PresenceRequest():
                return channel_commands.presence(self, command.id, request.channel, count_only=False)
            case PresenceStatsRequest():
                return channel_commands.presence(self, command.id, request.channel, count_only=True)
            case RPCRequest(method=publish_commands.PUBLISH_RPC):
                return publish_commands.publish_by_rpc(self, command, request)
            case RPCRequest():
                return CallBackend(command.id, request.method, request.data)
            case SubRefreshRequest():
                return channel_commands.sub_refresh(self, command.id, request, now)
            case RefreshRequest():
                return self._refresh(command.id, request, now)
            case SendRequest():
                if self.policy.section.allow_send:
                    return SendToBackend(request.data)
                return Close(codes.NOT_AVAILABLE_CLOSE, "nobody takes send commands (client.allow_send)")
            case ConnectRequest():
                return Close(codes.BAD_REQUEST_CLOSE, "a second connect")
            case None:
                return Close(codes.BAD_REQUEST_CLOSE, "a command without a request")

    def decided(self, asked: AskHook, verdict: HookResult, now: float) -> Action:
        """What follows from a backend's verdict."""
        if isinstance(verdict, hook_results.Disconnected):
            return Close(verdict.close, f"a backend decided so ({asked.event} hook)")
        request = request_of(asked.command)
        if isinstance(verdict, hook_results.Refused):
            if asked.event == "connect":
                return self._refuse(asked.command.id, verdict.error)
            if asked.event == "refresh":
                return _NOTHING  # it is asked again, until the grace period ends the connection
            return Answer(error_reply(asked.command.id, verdict.error))
        match verdict, request:
            case Admitted() | Unauthenticated(), ConnectRequest():
                return self._connect_decided(asked.command, request, verdict, now)
            case Grant(), SubscribeRequest():
                return channel_commands.subscribe_allowed(self, asked.command.id, request, verdict, now)
            case hook_results.Accepted(), PublishRequest():
                return publish_commands.publish_allowed(self, asked.command, request, verdict)
            case hook_results.Expired(), _:
                return Close(codes.CONNECTION_EXPIRED, "a backend decided so (refresh hook)")
            case hook_results.Extended(), _:
                if 0 < verdict.expires_at <= now:
                    return Close(codes.CONNECTION_EXPIRED, "a backend prolonged it to a time that is past")
                self._ask_refresh_at = 0.0
                self.prolong(verdict.expires_at, verdict.info, verdict.meta)
                return _NOTHING
        raise AssertionError(f"a verdict on {asked.event} that is none: {verdict}")

    # --- connect -----------------------------------------------------------------------------------------------------

    def _connect(self, command: Command, request: ConnectRequest, now: float) -> Action:
        section = self.policy.section
        self.name, self.version = request.name[:16], request.version[:64]
        if request.token:
            try:
                identity = self.policy.verifier.connection(request.token, now)
            except InvalidToken as error:
                return Close(codes.INVALID_TOKEN, str(error))
            except ExpiredToken:
                return self._refuse(command.id, codes.TOKEN_EXPIRED)
            if not identity.user and section.disallow_anonymous_connection_tokens:
                return Close(codes.PERMISSION_DENIED_CLOSE, "a token without a user")
            return self._admit(command.id, request, identity, NO_DATA, now)
        if section.connect_hook:
            question = hook_questions.connect_question(self.caller, request)
            return AskHook("connect", command, question, section.hook_timeout, section.hook_when_away == "allow")
        if not self.policy.anonymous_may_connect:
            return Close(codes.BAD_REQUEST_CLOSE, "a connect without a token")
        return self._admit(command.id, request, Identity(), NO_DATA, now)

    def _connect_decided(
        self, command: Command, request: ConnectRequest, verdict: Admitted | Unauthenticated, now: float
    ) -> Action:
        if isinstance(verdict, Unauthenticated):
            if not self.policy.anonymous_may_connect:
                return Close(
                    codes.BAD_REQUEST_CLOSE, "a connect without a token, and of nobody that the connect hook knows"
                )
            return self._admit(command.id, request, Identity(), NO_DATA, now)
        if verdict.expires_at and verdict.expires_at <= now:
            return self._refuse(command.id, codes.EXPIRED)
        identity = Identity(
            user=verdict.user,
            expires_at=verdict.expires_at,
            info=verdict.info,
            meta=verdict.meta,
            grants=verdict.subs,
        )
        return self._admit(command.id, request, identity, verdict.data, now)

    def _admit(self, command_id: int, request: ConnectRequest, identity: Identity, data: Raw, now: float) -> Action:
        section = self.policy.section
        limit = section.user_connection_limit
        if limit and identity.user and self.policy.connections_of(identity.user) >= limit:
            return Close(codes.CONNECTION_LIMIT, "the user has as many connections as one may have")
        self.identity = identity
        attach_requests = channel_commands.at_connect(self, request.subs, now)
        if isinstance(attach_requests, ErrorCode):
            return self._refuse(command_id, attach_requests)
        if isinstance(attach_requests, CloseCode):
            return Close(attach_requests)
        self.state = State.CONNECTED
        if section.ping_interval:
            self._pong_or_ping_at = now + section.ping_interval * (0.5 + self.jitter / 2)
        by_client = identity.expires_at > 0 and not section.refresh_hook and not self.format.unidirectional
        result = ConnectResult(
            client=self.id,
            version=self.policy.version,
            expires=by_client,
            ttl=seconds_left(identity.expires_at, now) if by_client else 0,
            data=data,
            ping=0 if self.native_pings else int(section.ping_interval),
            pong=self._answers_pings,
        )
        return Connected(command_id, result, attach_requests)

    def _refuse(self, command_id: int, error: ErrorCode) -> Action:
        if self.format.unidirectional:
            return Close(_AS_CLOSE.get(error.code, codes.INTERNAL_CLOSE), error.message)
        self.state = State.REFUSED
        return Answer(error_reply(command_id, error))

    @property
    def _answers_pings(self) -> bool:
        return self.policy.section.ping_interval > 0 and not self.native_pings and not self.format.unidirectional

    # --- refresh -----------------------------------------------------------------------------------------------------

    def _refresh(self, command_id: int, request: RefreshRequest, now: float) -> Action:
        if not request.token or not self.identity.expires_at or self.policy.section.refresh_hook:
            return Close(codes.BAD_REQUEST_CLOSE, "a refresh that was not asked for, or without a token")
        try:
            identity = self.policy.verifier.connection(request.token, now)
        except InvalidToken as error:
            return Close(codes.INVALID_TOKEN, str(error))
        except ExpiredToken:
            return Close(codes.CONNECTION_EXPIRED, "refreshed with an expired token")
        if identity.user != self.identity.user:
            return Close(codes.INVALID_TOKEN, "refreshed with the token of another user")
        if identity.grants.keys() != self.identity.grants.keys():
            return Close(codes.INSUFFICIENT_STATE, "the new token has other channels: it comes back with those")
        self.identity = identity
        ttl = seconds_left(identity.expires_at, now)
        return Answer(reply_to(command_id, RefreshResult(client=self.id, expires=ttl > 0, ttl=ttl)))

    def prolong(self, expires_at: int, info: Raw | None = None, meta: Raw | None = None) -> None:
        """A backend says when the connection expires (0: never), and who the client is from now on."""
        changes: dict[str, Raw] = {}
        if info is not None and bytes(info):
            changes["info"] = info
            for subscription in self.channels.values():
                if subscription.member is not None:
                    subscription.member = replace(subscription.member, conn_info=info)
        if meta is not None and bytes(meta):
            changes["meta"] = meta
        self.identity = replace(self.identity, expires_at=expires_at, **changes)

    def _pong(self, now: float) -> Action:
        if not self._awaits_pong:
            return Close(codes.BAD_REQUEST_CLOSE, "a pong that nobody asked for")
        self._awaits_pong = False
        self._pong_or_ping_at = now + self.policy.section.ping_interval
        return _NOTHING

    # --- who it is ---------------------------------------------------------------------------------------------------

    @property
    def requester(self) -> Requester:
        return Requester(user=self.identity.user, insecure=self.policy.section.insecure)

    @property
    def caller(self) -> Caller:
        """For whom a backend is asked."""
        identity = self.identity
        format = self.format
        return Caller(identity.user, self.id, identity.info, identity.meta, format.transport, format.codec.name)

    def info(self, chan_info: Raw = NO_DATA) -> ClientInfo:
        """Whom others see."""
        identity = self.identity
        return ClientInfo(user=identity.user, client=self.id, conn_info=identity.info, chan_info=chan_info)

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When `due` wants to be asked next, infinity for never."""
        if self.state is not State.CONNECTED:
            return self._stale_at
        grace = self.policy.section.expired_close_delay
        at = self._pong_or_ping_at or float("inf")
        if self.identity.expires_at:
            at = min(at, self.identity.expires_at + grace)
            if self.policy.section.refresh_hook:
                at = min(at, max(self.identity.expires_at, self._ask_refresh_at))
        for subscription in self.channels.values():
            if subscription.expires_at:
                at = min(at, subscription.expires_at + grace)
        return at

    def due(self, now: float) -> TimedAction:
        """What the passing of time demands; asked again at once until it is nothing."""
        if self.state is not State.CONNECTED:
            return Close(codes.STALE) if now >= self._stale_at else _NOTHING
        section = self.policy.section
        expires_at, grace = self.identity.expires_at, section.expired_close_delay
        if expires_at and now >= expires_at + grace:
            return Close(codes.CONNECTION_EXPIRED)
        if expires_at and section.refresh_hook and now >= max(expires_at, self._ask_refresh_at):
            self._ask_refresh_at = now + _ASK_REFRESH_AGAIN_S
            question = hook_questions.refresh_question(self.caller)
            return AskHook("refresh", Command(), question, section.hook_timeout, section.hook_when_away == "allow")
        for channel, subscription in self.channels.items():
            if subscription.expires_at and now >= subscription.expires_at + grace:
                if subscription.server_side:
                    return Close(codes.SUBSCRIPTION_EXPIRED)
                return EndSubscription(channel)
        if not self._pong_or_ping_at or now < self._pong_or_ping_at:
            return _NOTHING
        if self._awaits_pong:
            return Close(codes.NO_PONG)
        self._awaits_pong = self._answers_pings or self.native_pings or self.format.pongs_natively
        self._pong_or_ping_at = now + (section.pong_timeout if self._awaits_pong else section.ping_interval)
        return Ping(self.native_pings)

    def native_pong(self, now: float) -> None:
        """A WebSocket pong; one that nobody asked for is allowed there."""
        if self._awaits_pong and (self.native_pings or self.format.pongs_natively):
            self._pong(now)

    def excuse_pong(self, now: float) -> None:
        """A client that cannot take our ping at the moment is not to be blamed for a missing pong."""
        if self._awaits_pong:
            self._pong_or_ping_at = now + self.policy.section.pong_timeout
