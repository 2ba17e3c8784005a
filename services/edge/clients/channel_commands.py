"""What a client may do with one channel: subscribe, read its history or presence. Decides, and does no I/O.

The order of the checks is the reference's; SDK tests rely on it. See `client.Client`, whose commands these are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proto import codes
from proto.codes import CloseCode, ErrorCode
from proto.commands import Command, HistoryRequest, SubRefreshRequest, SubscribeRequest, UnsubscribeRequest
from proto.messages import StreamPosition
from proto.replies import SubRefreshResult, UnsubscribeResult, reply_to
from services.edge.backend import hook_questions
from services.edge.channels.namespaces import (
    PRIVATE_PREFIX,
    USER_BOUNDARY,
    ChannelRules,
    is_valid_name,
    may_read_history,
    may_read_presence,
    may_subscribe,
    personal_channel,
)
from services.edge.channels.subscription import FOSSIL, Subscription
from services.edge.channels.tags_filter import BadFilter, compile_filter
from services.edge.clients.actions import (
    Action,
    Answer,
    AskHook,
    AttachRequest,
    Close,
    ReadHistory,
    ReadPresence,
    Unsubscribe,
)
from services.edge.clients.channel_checks import WHY, refused, rules_of
from services.edge.grants import Grant, seconds_left
from services.edge.tokens.tokens import ExpiredToken, InvalidToken

if TYPE_CHECKING:
    from services.edge.clients.client import Client

REJECT_UNRECOVERED: Final = 2  # SubscribeRequest.flag: answer 112 instead of recovered: false
_STREAM_SUBSCRIPTION: Final = 0
_SHARED_POLL: Final = 4
_DELTAS: Final = ("", FOSSIL)


# --- subscribe ------------------------------------------------------------------------------------------------------


def subscribe(client: Client, command: Command, request: SubscribeRequest, now: float) -> Action:
    channel = request.channel
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "a subscribe without a channel")
    if request.delta not in _DELTAS:
        return Close(codes.BAD_REQUEST_CLOSE, "an unknown delta type")
    rules = _check_subscribe(client, channel, request)
    if isinstance(rules, ErrorCode):
        return refused(command.id, rules, "subscribe to", channel, WHY.get(rules.code, ""))
    if request.token:
        return _subscribe_by_token(client, command.id, request, now)
    options = rules.options
    if options.subscribe_hook and not channel.startswith(PRIVATE_PREFIX):
        question = hook_questions.subscribe_question(client.caller, channel, bytes(request.data))
        return AskHook("subscribe", command, question, options.hook_timeout, options.hook_when_away == "allow")
    if not may_subscribe(channel, rules, client.requester):
        return refused(command.id, codes.PERMISSION_DENIED, "subscribe to", channel, _why_not_subscribe(channel))
    return subscribe_allowed(client, command.id, request, Grant(), now)


def _why_not_subscribe(channel: str) -> str:
    if channel.startswith(PRIVATE_PREFIX):
        return "a private channel needs a subscription token"
    if USER_BOUNDARY in channel:
        return "the user is not one of its list, or its namespace has no allow_user_limited_channels"
    return "its namespace has no allow_subscribe_for_client, or _for_anonymous for a client without a user"


def _check_subscribe(client: Client, channel: str, request: SubscribeRequest) -> ChannelRules | ErrorCode:
    section = client.policy.section
    if len(channel) > section.channel_max_length:
        return codes.BAD_REQUEST
    if channel in client.channels:
        return codes.ALREADY_SUBSCRIBED
    if len(client.channels) >= section.channel_limit:
        return codes.LIMIT_EXCEEDED
    rules = client.policy.namespaces.rules(channel)
    if isinstance(rules, ErrorCode):
        return rules
    if not is_valid_name(channel, rules):
        return codes.BAD_REQUEST
    if request.type != _STREAM_SUBSCRIPTION:
        return codes.NOT_AVAILABLE if request.type == _SHARED_POLL else codes.PERMISSION_DENIED
    return rules


def _subscribe_by_token(client: Client, command_id: int, request: SubscribeRequest, now: float) -> Action:
    """A good token is enough, whatever the namespace says."""
    try:
        claims = client.policy.verifier.subscription(request.token, now)
    except InvalidToken as error:
        return refused(command_id, codes.PERMISSION_DENIED, "subscribe to", request.channel, f"the token: {error}")
    except ExpiredToken:
        return refused(command_id, codes.TOKEN_EXPIRED, "subscribe to", request.channel)
    if not _is_for(client, request.channel, claims.channel, claims.user, claims.client):
        return Close(codes.INVALID_TOKEN, "a subscription token of another channel, user or connection")
    if 0 < claims.grant.expires_at <= now:  # it is in the last fraction of its last second
        return refused(command_id, codes.TOKEN_EXPIRED, "subscribe to", request.channel)
    return subscribe_allowed(client, command_id, request, claims.grant, now)


def _is_for(client: Client, channel: str, claimed_channel: str, user: str, client_id: str) -> bool:
    return claimed_channel == channel and user == client.identity.user and client_id in ("", client.id)


def subscribe_allowed(client: Client, command_id: int, request: SubscribeRequest, grant: Grant, now: float) -> Action:
    """By permission, token or hook."""
    attach_request = _attach_request(client, command_id, request.channel, request, grant, now, server_side=False)
    if isinstance(attach_request, ErrorCode):
        why = "its tags filter is not allowed or not valid" if attach_request == codes.BAD_REQUEST else ""
        return refused(command_id, attach_request, "subscribe to", request.channel, why)
    return attach_request


def _attach_request(
    client: Client,
    command_id: int,
    channel: str,
    request: SubscribeRequest,
    grant: Grant,
    now: float,
    *,
    server_side: bool,
) -> AttachRequest | ErrorCode:
    rules = client.policy.namespaces.rules(channel)
    if isinstance(rules, ErrorCode):
        return rules
    if grant.expires_at and grant.expires_at <= now:
        return codes.EXPIRED
    options = rules.options
    subscription = Subscription(rules, grant, client.info(grant.info), server_side=server_side)
    reads_history = rules.has_history and may_read_history(rules, client.requester, channel in client.channels)
    if request.recoverable and (options.allow_recovery or reads_history):
        subscription.recoverable = True
    if request.positioned and (options.allow_positioning or reads_history):
        subscription.positioned = True
    subscription.positioned = subscription.positioned or subscription.recoverable
    if request.join_leave and subscription.emits_join_leave and may_read_presence(rules, client.requester, True):
        subscription.pushes_join_leave = True
    if request.tf is not None:
        if not options.allow_tags_filter:
            return codes.BAD_REQUEST
        try:
            subscription.filter = compile_filter(request.tf)
        except BadFilter:
            return codes.BAD_REQUEST
    allowed_delta = request.delta in options.allowed_delta_types
    subscription.delta = bool(request.delta) and allowed_delta and subscription.filter is None and rules.has_history
    recover = StreamPosition(request.offset, request.epoch) if subscription.recoverable and request.recover else None
    return AttachRequest(
        command_id=command_id,
        channel=channel,
        subscription=subscription,
        data=grant.data,
        recover=recover,
        reject_unrecovered=bool(request.flag & REJECT_UNRECOVERED) and not server_side,
        ttl=seconds_left(grant.expires_at, now),
    )


def at_connect(
    client: Client, requested: dict[str, SubscribeRequest], now: float
) -> list[AttachRequest] | ErrorCode | CloseCode:
    """The server-side subscriptions of a client that connects: by its token or hook, its personal channel, and on a
    unidirectional transport those that it asks for. `requested` also says where it had come to in each.
    """
    section, user = client.policy.section, client.identity.user
    grants = dict(client.identity.grants)
    if section.subscribe_to_user_personal_channel and user:
        grants.setdefault(personal_channel(user, section.user_personal_channel_namespace), Grant())
    if client.format.unidirectional:
        for channel in requested:
            if channel not in grants:
                refused = _may_ask_for(client, channel, requested[channel])
                if refused is not None:
                    return refused
                grants[channel] = Grant()
    if len(grants) > section.channel_limit:
        return codes.CHANNEL_LIMIT
    attach_requests: list[AttachRequest] = []
    for channel, grant in grants.items():
        attach_request = server_side(client, channel, grant, requested.get(channel, SubscribeRequest()), now)
        if isinstance(attach_request, ErrorCode):
            return attach_request
        attach_requests.append(attach_request)
    return attach_requests


def _may_ask_for(client: Client, channel: str, request: SubscribeRequest) -> ErrorCode | None:
    rules = _check_subscribe(client, channel, request)
    if isinstance(rules, ErrorCode):
        return rules
    # Where a backend decides it is not gone around: it gives such clients their channels by its answer to connect.
    may = not rules.options.subscribe_hook and may_subscribe(channel, rules, client.requester)
    return None if may else codes.PERMISSION_DENIED


def server_side(
    client: Client, channel: str, grant: Grant, request: SubscribeRequest, now: float
) -> AttachRequest | ErrorCode:
    """A subscription that the server decides on. `request` holds the client's position, if it has one."""
    if not 0 < len(channel) <= client.policy.section.channel_max_length:
        return codes.BAD_REQUEST
    return _attach_request(client, 0, channel, request, grant, now, server_side=True)


def sub_refresh(client: Client, command_id: int, request: SubRefreshRequest, now: float) -> Action:
    channel = request.channel
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "a sub_refresh without a channel")
    subscription = client.channels.get(channel)
    if subscription is None:
        return refused(command_id, codes.PERMISSION_DENIED, "refresh of", channel, "the client is not subscribed")
    if request.type:
        return refused(command_id, codes.NOT_AVAILABLE, "refresh of", channel, WHY[codes.NOT_AVAILABLE.code])
    if not request.token:
        return refused(command_id, codes.BAD_REQUEST, "refresh of", channel, "it has no token")
    try:
        claims = client.policy.verifier.subscription(request.token, now)
    except InvalidToken as error:
        return Close(codes.INVALID_TOKEN, str(error))
    except ExpiredToken:
        return refused(command_id, codes.EXPIRED, "refresh of", channel)
    if not _is_for(client, channel, claims.channel, claims.user, claims.client):
        return Close(
            codes.INVALID_TOKEN, "a subscription refreshed with a token of another channel, user or connection"
        )
    expires_at = claims.grant.expires_at
    if expires_at and expires_at <= now:
        return refused(command_id, codes.EXPIRED, "refresh of", channel)
    subscription.expires_at = expires_at
    ttl = seconds_left(expires_at, now)
    return Answer(reply_to(command_id, SubRefreshResult(expires=ttl > 0, ttl=ttl)))


def unsubscribe(client: Client, command_id: int, request: UnsubscribeRequest) -> Action:
    if not request.channel:
        return Close(codes.BAD_REQUEST_CLOSE, "an unsubscribe without a channel")
    reply = reply_to(command_id, UnsubscribeResult())
    if request.channel not in client.channels:
        return Answer(reply)
    return Unsubscribe(request.channel, reply)


# --- history and presence -------------------------------------------------------------------------------------------


def history(client: Client, command_id: int, request: HistoryRequest) -> Action:
    channel = request.channel
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "a history without a channel")
    rules = rules_of(client, channel)
    if isinstance(rules, ErrorCode):
        return refused(command_id, rules, "history of", channel, WHY.get(rules.code, ""))
    if not rules.has_history:
        return refused(command_id, codes.NOT_AVAILABLE, "history of", channel, "its namespace keeps none")
    if not may_read_history(rules, client.requester, channel in client.channels):
        why = "its namespace has no allow_history_for_client, nor _for_subscriber for a client that is subscribed"
        return refused(command_id, codes.PERMISSION_DENIED, "history of", channel, why)
    if request.reverse and request.since is not None and not request.since.offset:
        return refused(command_id, codes.BAD_REQUEST, "history of", channel, "reverse from the offset 0")
    cap = client.policy.section.history_max_publication_limit
    limit = cap if request.limit < 0 else min(request.limit, cap)
    return ReadHistory(command_id, channel, rules, limit, request.since, request.reverse)


def presence(client: Client, command_id: int, channel: str, *, count_only: bool) -> Action:
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "a presence without a channel")
    rules = rules_of(client, channel)
    if isinstance(rules, ErrorCode):
        return refused(command_id, rules, "presence of", channel, WHY.get(rules.code, ""))
    if not rules.options.presence:
        return refused(command_id, codes.NOT_AVAILABLE, "presence of", channel, "its namespace has none")
    if not may_read_presence(rules, client.requester, channel in client.channels):
        why = "its namespace has no allow_presence_for_client, nor _for_subscriber for a client that is subscribed"
        return refused(command_id, codes.PERMISSION_DENIED, "presence of", channel, why)
    return ReadPresence(command_id, channel, count_only)
