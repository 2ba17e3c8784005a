"""Decides what a client may subscribe to, and on what terms. Does no I/O.

The order of the checks is the reference's; the tests of SDKs rely on it.
"""

from __future__ import annotations

from typing import Final

from proto import codes
from proto.commands import Command, SubscribeRequest, UnsubscribeRequest
from proto.messages import StreamPosition
from proto.replies import Reply, UnsubscribeResult, reply_to
from services.edge.backend import hook_questions
from services.edge.channels.namespaces import (
    PRIVATE_PREFIX,
    USER_BOUNDARY,
    ChannelRules,
    check_length,
    check_name,
    may_read_history,
    may_read_presence,
    may_subscribe,
    personal_channel,
)
from services.edge.channels.subscription import FOSSIL, AttachRequest, Subscription
from services.edge.channels.tags_filter import BadFilter, TagsFilter, compile_filter
from services.edge.grants import Grant, seconds_left
from services.edge.rejection import Rejected
from services.edge.session.actions import AskHook
from services.edge.session.decisions import Close, Unsubscribe
from services.edge.session.state import SessionState
from services.edge.tokens.tokens import ExpiredToken, InvalidToken

REJECT_UNRECOVERED: Final = 2  # SubscribeRequest.flag: answer 112 instead of recovered: false
_STREAM_SUBSCRIPTION: Final = 0
_SHARED_POLL: Final = 4
_DELTAS: Final = ("", FOSSIL)


def subscribe(
    state: SessionState, command: Command, request: SubscribeRequest, now: float
) -> AttachRequest | AskHook | Close:
    """Decides by token, hook or the namespace's permissions. Raises `Rejected`, `UnknownKey`."""
    channel = request.channel
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "the subscribe has no channel")
    if request.delta not in _DELTAS:
        return Close(codes.BAD_REQUEST_CLOSE, "the subscribe has an unknown delta type")
    rules = _check(state, channel, request)
    if limit := state.policy.allowances.subscribe(state.id, state.account, rules, now):
        raise Rejected(codes.TOO_MANY_REQUESTS, f"the client has reached {limit}")
    if request.token:
        return _by_token(state, command.id, rules, request, now)
    options = rules.options
    if options.subscribe_hook and not channel.startswith(PRIVATE_PREFIX):
        caller, backend, allow = state.caller, options.subscribe_backend, options.hook_when_away == "allow"
        question = hook_questions.subscribe_question(caller, channel, bytes(request.data), state.policy.form(backend))
        return AskHook("subscribe", command, question, caller, options.hook_timeout, allow, backend)
    if not _may(state, channel, rules):
        raise Rejected(codes.PERMISSION_DENIED, _why_not(channel))
    return _prepare(state, command.id, channel, rules, request, Grant(), now)


def subscribe_allowed(
    state: SessionState, command_id: int, request: SubscribeRequest, grant: Grant, now: float
) -> AttachRequest:
    """Decides by the result of the subscribe hook, a grant. Raises `Rejected`."""
    rules = state.policy.namespaces.rules(request.channel)
    return _prepare(state, command_id, request.channel, rules, request, grant, now)


def server_side(
    state: SessionState, channel: str, grant: Grant, request: SubscribeRequest, now: float
) -> AttachRequest:
    """A subscription that the server decides on. `request` holds the client's position, if it has one.

    Raises `Rejected`.
    """
    check_length(channel, state.policy.section.channel_max_length)
    rules = state.policy.namespaces.rules(channel)
    return _prepare(state, 0, channel, rules, request, grant, now, server_side=True)


def check_asked_at_connect(state: SessionState, channel: str, request: SubscribeRequest) -> None:
    """Checks a channel that a unidirectional client asks for in its connect. Raises `Rejected`.

    Such a client cannot bypass the subscribe hook: in a namespace with that hook, the connect hook has to grant the
    channels.
    """
    rules = _check(state, channel, request)
    if rules.options.subscribe_hook:
        raise Rejected(
            codes.PERMISSION_DENIED,
            f"at connect, the connect hook has to grant {channel!r}, which has a subscribe hook",
        )
    if not _may(state, channel, rules):
        raise Rejected(codes.PERMISSION_DENIED, _why_not(channel))


def unsubscribe(state: SessionState, command_id: int, request: UnsubscribeRequest) -> Unsubscribe | Reply | Close:
    """Ends a subscription. A client that is not subscribed gets the same reply."""
    if not request.channel:
        return Close(codes.BAD_REQUEST_CLOSE, "the unsubscribe has no channel")
    reply = reply_to(command_id, UnsubscribeResult())
    return Unsubscribe(request.channel, reply) if request.channel in state.channels else reply


def _may(state: SessionState, channel: str, rules: ChannelRules) -> bool:
    section = state.policy.section
    personal = section.subscribe_to_user_personal_channel
    prefix = personal_channel("", section.user_personal_channel_namespace) if personal else ""
    return may_subscribe(channel, rules, state.requester, prefix)


def _why_not(channel: str) -> str:
    if channel.startswith(PRIVATE_PREFIX):
        return "a private channel needs a subscription token"
    if USER_BOUNDARY in channel:
        return "the user is not in the channel's list, or its namespace has no allow_user_limited_channels"
    return "its namespace has no allow_subscribe_for_client, or _for_anonymous for a client without a user"


def _check(state: SessionState, channel: str, request: SubscribeRequest) -> ChannelRules:
    section = state.policy.section
    check_length(channel, section.channel_max_length)
    if channel in state.channels:
        raise Rejected(codes.ALREADY_SUBSCRIBED)
    if len(state.channels) >= section.channel_limit:
        raise Rejected(codes.LIMIT_EXCEEDED, "the client has reached client.channel_limit")
    rules = state.policy.namespaces.rules(channel)
    check_name(channel, rules)
    if request.type == _SHARED_POLL:
        raise Rejected(codes.NOT_AVAILABLE, "shared-poll subscriptions are not offered")
    if request.type != _STREAM_SUBSCRIPTION:
        raise Rejected(codes.PERMISSION_DENIED, "map subscriptions are not offered")
    return rules


def _by_token(
    state: SessionState, command_id: int, rules: ChannelRules, request: SubscribeRequest, now: float
) -> AttachRequest | Close:
    """A valid token is enough, whatever the namespace's permissions."""
    try:
        claims = state.policy.verifier.subscription(request.token, state.unix(now))
    except InvalidToken as error:
        raise Rejected(codes.PERMISSION_DENIED, f"the token: {error}") from None
    except ExpiredToken as error:
        raise Rejected(codes.TOKEN_EXPIRED, str(error)) from None
    if not state.matches(claims, request.channel):
        return Close(codes.INVALID_TOKEN, "the subscription token is of another channel, user or connection")
    if 0 < claims.grant.expires_at <= state.unix(now):  # the token is in the last fraction of its last second
        raise Rejected(codes.TOKEN_EXPIRED)
    return _prepare(state, command_id, request.channel, rules, request, claims.grant, now)


def _prepare(
    state: SessionState,
    command_id: int,
    channel: str,
    rules: ChannelRules,
    request: SubscribeRequest,
    grant: Grant,
    now: float,
    *,
    server_side: bool = False,
) -> AttachRequest:
    """Makes the subscription from namespace, grant and request. Raises `Rejected`."""
    if grant.expires_at and grant.expires_at <= state.unix(now):
        raise Rejected(codes.EXPIRED, "the permission for the subscription ended in the past")
    options, requester = rules.options, state.requester
    reads_history = rules.has_history and may_read_history(rules, requester, channel in state.channels)
    subscription = Subscription(
        rules,
        grant,
        state.info(grant.info),
        server_side=server_side,
        recoverable=request.recoverable and (options.allow_recovery or reads_history),
        positioned=request.positioned and (options.allow_positioning or reads_history),
        wants_join_leave=request.join_leave and may_read_presence(rules, requester, True),
        filter=_filter(rules, request),
        delta=rules.has_history and request.delta in options.allowed_delta_types,
    )
    recover = StreamPosition(request.offset, request.epoch) if subscription.recoverable and request.recover else None
    return AttachRequest(
        command_id=command_id,
        channel=channel,
        subscription=subscription,
        data=grant.data,
        recover=recover,
        cache_recover=grant.cache_recover,
        reject_unrecovered=bool(request.flag & REJECT_UNRECOVERED) and not server_side,
        ttl=seconds_left(grant.expires_at, state.unix(now)) if grant.expires_at and not options.sub_refresh_hook else 0,
    )


def _filter(rules: ChannelRules, request: SubscribeRequest) -> TagsFilter | None:
    if request.tf is None:
        return None
    if not rules.options.allow_tags_filter:
        raise Rejected(codes.BAD_REQUEST, "its namespace has no allow_tags_filter")
    try:
        return compile_filter(request.tf)
    except BadFilter as error:
        raise Rejected(codes.BAD_REQUEST, f"its tags filter is not valid: {error}") from None
