"""One client's side of the conversation: a state machine that decides and does no I/O. Reads no clock.

    NEW --connect ok--> CONNECTED --close--> (the connection is gone)
     '--connect refused with an error--> REFUSED: the client is expected to leave, whatever it still says is ignored

`handle` takes one command and returns the one action that answers it. Where that needs the cluster (subscribe, publish,
history), the connection asks the node and makes the reply of what comes back. `due` is asked when `deadline` has
passed: one number instead of a timer for each of stale, ping, pong and expiry.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from proto import codes
from proto.codes import ErrorCode
from proto.messages import (
    ClientInfo,
    Command,
    ConnectRequest,
    ConnectResult,
    Error,
    HistoryRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    RefreshResult,
    Reply,
    RPCRequest,
    SendRequest,
    StreamPosition,
    SubRefreshRequest,
    SubscribeRequest,
    UnsubscribeRequest,
    UnsubscribeResult,
    reply_to,
    request_of,
)
from services.edge.actions import (
    Action,
    Answer,
    Close,
    Connected,
    Nothing,
    Ping,
    Publish,
    ReadHistory,
    Subscribe,
    TimedAction,
    Unsubscribe,
)
from services.edge.namespaces import (
    Asker,
    Namespaces,
    Rules,
    is_valid_name,
    may_publish,
    may_read_history,
    may_subscribe,
)
from services.edge.settings import ClientSection
from services.edge.tokens import ExpiredToken, Identity, InvalidToken, TokenVerifier

REJECT_UNRECOVERED: Final = 2  # SubscribeRequest.flag: answer 112 instead of recovered: false
_MAX_TTL_S: Final = 365 * 24 * 3600  # longer ones are clamped, as SDK timers take no more
_STREAM_SUBSCRIPTION: Final = 0
_SHARED_POLL: Final = 4
_DELTAS: Final = ("", "fossil")

_NOTHING = Nothing()


class State(Enum):
    NEW = 1
    CONNECTED = 2
    REFUSED = 3


def error_reply(command_id: int, error: ErrorCode) -> Reply:
    return reply_to(command_id, Error(*error))


class Policy:
    """What all clients of an edge have in common: the settings, the namespaces, the token verifier."""

    def __init__(self, section: ClientSection, namespaces: Namespaces, verifier: TokenVerifier, version: str) -> None:
        self.section = section
        self.namespaces = namespaces
        self.verifier = verifier
        self.version = version
        self.anonymous_may_connect = section.insecure or section.allow_anonymous_connect_without_token


class Client:
    """See the module. Times are Unix seconds; `jitter` in [0, 1) spreads the first ping."""

    __slots__ = (
        "_awaits_pong",
        "_policy",
        "_pong_or_ping_at",
        "_stale_at",
        "channels",
        "id",
        "identity",
        "jitter",
        "name",
        "native_pings",
        "state",
        "version",
    )

    def __init__(self, client_id: str, policy: Policy, now: float, jitter: float) -> None:
        self.id = client_id
        self.state = State.NEW
        self.identity = Identity()
        self.name = ""
        self.version = ""
        self.jitter = jitter
        self.channels: dict[str, Rules] = {}
        self._policy = policy
        self.native_pings = False  # WebSocket pings in place of the protocol's own
        self._awaits_pong = False
        self._stale_at = now + policy.section.stale_close_delay
        self._pong_or_ping_at = 0.0  # 0: pings are off, or not connected yet

    # --- commands ---------------------------------------------------------------------------------------------------

    def handle(self, command: Command, now: float) -> Action:
        """What to do about `command`, received at `now`."""
        if self.state is State.REFUSED:
            return _NOTHING
        request = request_of(command)
        if self.state is State.NEW:
            if isinstance(request, ConnectRequest) and command.id:
                return self._connect(command.id, request, now)
            return Close(codes.BAD_REQUEST_CLOSE, "a command before connect")
        if not command.id and not isinstance(request, SendRequest):
            return self._pong(now)
        match request:
            case SubscribeRequest():
                return self._subscribe(command, request)
            case UnsubscribeRequest():
                return self._unsubscribe(command.id, request)
            case PublishRequest():
                return self._publish(command, request)
            case HistoryRequest():
                return self._history(command, request)
            case RefreshRequest():
                return self._refresh(command.id, request, now)
            case RPCRequest():
                return Answer(error_reply(command.id, codes.NOT_AVAILABLE))
            case PresenceRequest() | PresenceStatsRequest():
                return self._presence(command.id, request.channel)
            case SubRefreshRequest():
                if not request.channel:
                    return Close(codes.BAD_REQUEST_CLOSE, "a sub_refresh without a channel")
                known = request.channel in self.channels
                return Answer(error_reply(command.id, codes.NOT_AVAILABLE if known else codes.PERMISSION_DENIED))
            case SendRequest():
                return Close(codes.NOT_AVAILABLE_CLOSE, "nobody takes send commands")
            case ConnectRequest():
                return Close(codes.BAD_REQUEST_CLOSE, "a second connect")
            case None:
                return Close(codes.BAD_REQUEST_CLOSE, "a command without a request")

    def _connect(self, command_id: int, request: ConnectRequest, now: float) -> Action:
        if request.token:
            try:
                self.identity = self._policy.verifier.verify(request.token, now)
            except InvalidToken as error:
                return Close(codes.INVALID_TOKEN, str(error))
            except ExpiredToken:
                self.state = State.REFUSED
                return Answer(error_reply(command_id, codes.TOKEN_EXPIRED))
        elif not self._policy.anonymous_may_connect:
            return Close(codes.BAD_REQUEST_CLOSE, "a connect without a token")
        self.state = State.CONNECTED
        self.name, self.version = request.name[:16], request.version[:64]
        section = self._policy.section
        if section.ping_interval:
            self._pong_or_ping_at = now + section.ping_interval * (0.5 + self.jitter / 2)
        result = ConnectResult(
            client=self.id,
            version=self._policy.version,
            expires=self.identity.expires_at > 0,
            ttl=self._ttl(now),
            ping=0 if self.native_pings else int(section.ping_interval),
            pong=not self.native_pings and section.ping_interval > 0,
        )
        return Connected(reply_to(command_id, result))

    def _ttl(self, now: float) -> int:
        if not self.identity.expires_at:
            return 0
        return max(1, min(_MAX_TTL_S, int(self.identity.expires_at - now)))

    def _pong(self, now: float) -> Action:
        if not self._awaits_pong:
            return Close(codes.BAD_REQUEST_CLOSE, "a pong that nobody asked for")
        self._awaits_pong = False
        self._pong_or_ping_at = now + self._policy.section.ping_interval
        return _NOTHING

    def _subscribe(self, command: Command, request: SubscribeRequest) -> Action:
        channel = request.channel
        if not channel:
            return Close(codes.BAD_REQUEST_CLOSE, "a subscribe without a channel")
        if request.delta not in _DELTAS:
            return Close(codes.BAD_REQUEST_CLOSE, "an unknown delta type")
        checked = self._check_subscribe(channel, request)
        if isinstance(checked, ErrorCode):
            return Answer(error_reply(command.id, checked))
        options = checked.options
        allowed = self._may_read_history(channel, checked) and checked.has_history
        recoverable = options.force_recovery or (request.recoverable and (options.allow_recovery or allowed))
        positioned = options.force_positioning or (request.positioned and (options.allow_positioning or allowed))
        recover = StreamPosition(request.offset, request.epoch) if recoverable and request.recover else None
        return Subscribe(
            command=command,
            channel=channel,
            rules=checked,
            positioned=positioned or recoverable,
            recoverable=recoverable,
            recover=recover,
            reject_unrecovered=bool(request.flag & REJECT_UNRECOVERED),
        )

    def _check_subscribe(self, channel: str, request: SubscribeRequest) -> Rules | ErrorCode:
        """In this order, which SDK tests rely on."""
        section = self._policy.section
        if len(channel) > section.channel_max_length:
            return codes.BAD_REQUEST
        if channel in self.channels:
            return codes.ALREADY_SUBSCRIBED
        if len(self.channels) >= section.channel_limit:
            return codes.LIMIT_EXCEEDED
        rules = self._policy.namespaces.rules(channel)
        if isinstance(rules, ErrorCode):
            return rules
        if not is_valid_name(channel, rules):
            return codes.BAD_REQUEST
        if request.type != _STREAM_SUBSCRIPTION:
            return codes.NOT_AVAILABLE if request.type == _SHARED_POLL else codes.PERMISSION_DENIED
        if not may_subscribe(channel, rules, self._asker()):
            return codes.PERMISSION_DENIED
        if bytes(request.tf) not in (b"", b"null"):
            return codes.BAD_REQUEST  # tags filters are not offered
        return rules

    def _unsubscribe(self, command_id: int, request: UnsubscribeRequest) -> Action:
        if not request.channel:
            return Close(codes.BAD_REQUEST_CLOSE, "an unsubscribe without a channel")
        reply = reply_to(command_id, UnsubscribeResult())
        if request.channel not in self.channels:
            return Answer(reply)
        return Unsubscribe(request.channel, reply)

    def _publish(self, command: Command, request: PublishRequest) -> Action:
        channel = request.channel
        if not channel:
            return Close(codes.BAD_REQUEST_CLOSE, "a publish without a channel")
        rules = self._rules_of(channel)
        if isinstance(rules, ErrorCode):
            return Answer(error_reply(command.id, rules))
        if request.type:
            return Answer(error_reply(command.id, codes.NOT_AVAILABLE))
        if not may_publish(rules, self._asker(), channel in self.channels):
            return Answer(error_reply(command.id, codes.PERMISSION_DENIED))
        if not bytes(request.data):
            return Answer(error_reply(command.id, codes.BAD_REQUEST))
        info = ClientInfo(user=self.identity.user, client=self.id, conn_info=self.identity.info)
        return Publish(command, channel, rules, request.data, info)

    def _history(self, command: Command, request: HistoryRequest) -> Action:
        channel = request.channel
        if not channel:
            return Close(codes.BAD_REQUEST_CLOSE, "a history without a channel")
        rules = self._rules_of(channel)
        if isinstance(rules, ErrorCode):
            return Answer(error_reply(command.id, rules))
        if not rules.has_history:
            return Answer(error_reply(command.id, codes.NOT_AVAILABLE))
        if not self._may_read_history(channel, rules):
            return Answer(error_reply(command.id, codes.PERMISSION_DENIED))
        if request.reverse and request.since is not None and not request.since.offset:
            return Answer(error_reply(command.id, codes.BAD_REQUEST))
        cap = self._policy.section.history_max_publication_limit
        limit = cap if request.limit < 0 else min(request.limit, cap)
        return ReadHistory(command, channel, rules, limit, request.since, request.reverse)

    def _presence(self, command_id: int, channel: str) -> Action:
        if not channel:
            return Close(codes.BAD_REQUEST_CLOSE, "a presence without a channel")
        rules = self._rules_of(channel)
        return Answer(error_reply(command_id, rules if isinstance(rules, ErrorCode) else codes.NOT_AVAILABLE))

    def _refresh(self, command_id: int, request: RefreshRequest, now: float) -> Action:
        if not request.token or not self.identity.expires_at:
            return Close(codes.BAD_REQUEST_CLOSE, "a refresh that was not asked for, or without a token")
        try:
            identity = self._policy.verifier.verify(request.token, now)
        except InvalidToken as error:
            return Close(codes.INVALID_TOKEN, str(error))
        except ExpiredToken:
            return Close(codes.CONNECTION_EXPIRED, "refreshed with an expired token")
        if identity.user != self.identity.user:
            return Close(codes.INVALID_TOKEN, "refreshed with the token of another user")
        self.identity = identity
        ttl = self._ttl(now)
        return Answer(reply_to(command_id, RefreshResult(client=self.id, expires=ttl > 0, ttl=ttl)))

    def _rules_of(self, channel: str) -> Rules | ErrorCode:
        if len(channel) > self._policy.section.channel_max_length:
            return codes.BAD_REQUEST
        rules = self._policy.namespaces.rules(channel)
        if isinstance(rules, Rules) and not is_valid_name(channel, rules):
            return codes.BAD_REQUEST
        return rules

    def _may_read_history(self, channel: str, rules: Rules) -> bool:
        return may_read_history(rules, self._asker(), channel in self.channels)

    def _asker(self) -> Asker:
        return Asker(anonymous=not self.identity.user, insecure=self._policy.section.insecure)

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When `due` wants to be asked next, infinity for never."""
        if self.state is not State.CONNECTED:
            return self._stale_at
        at = self._pong_or_ping_at or float("inf")
        if self.identity.expires_at:
            at = min(at, self.identity.expires_at + self._policy.section.expired_close_delay)
        return at

    def due(self, now: float) -> TimedAction:
        """What the passing of time demands."""
        if self.state is not State.CONNECTED:
            return Close(codes.STALE) if now >= self._stale_at else _NOTHING
        section = self._policy.section
        if self.identity.expires_at and now >= self.identity.expires_at + section.expired_close_delay:
            return Close(codes.CONNECTION_EXPIRED)
        if not self._pong_or_ping_at or now < self._pong_or_ping_at:
            return _NOTHING
        if self._awaits_pong:
            return Close(codes.NO_PONG)
        self._awaits_pong = True
        self._pong_or_ping_at = now + section.pong_timeout
        return Ping(self.native_pings)

    def native_pong(self, now: float) -> None:
        """A WebSocket pong; one that nobody asked for is allowed there."""
        if self._awaits_pong and self.native_pings:
            self._pong(now)

    def excuse_pong(self, now: float) -> None:
        """A client that cannot take our ping at the moment is not to be blamed for a missing pong."""
        if self._awaits_pong:
            self._pong_or_ping_at = now + self._policy.section.pong_timeout
