"""Decides on new tokens for a connection and for one of its subscriptions. Does no I/O."""

from __future__ import annotations

from typing import assert_never

from proto import codes
from proto.commands import RefreshRequest, SubRefreshRequest
from proto.events import BY_BACKEND
from proto.messages import Error
from proto.replies import RefreshResult, SubRefreshResult, reply_to
from services.edge.backend import hook_results
from services.edge.channels.subscription import Subscription
from services.edge.grants import Grant, seconds_left
from services.edge.rejection import Rejected
from services.edge.session.decisions import NOTHING, Close, EndSubscriptions, Nothing, Renewed
from services.edge.session.outcomes import HookResult
from services.edge.session.state import SessionState
from services.edge.tokens.tokens import ExpiredToken, InvalidToken


def refresh(state: SessionState, command_id: int, request: RefreshRequest, now: float) -> Renewed | Close:
    """Extends the connection by a new token of the same user. Raises `UnknownKey`."""
    if not request.token or state.policy.section.refresh_hook:
        return Close(codes.BAD_REQUEST_CLOSE, "the refresh has no token, or the refresh hook decides instead")
    unix = state.unix(now)
    try:
        identity = state.policy.verifier.connection(request.token, unix)
    except InvalidToken as error:
        return Close(codes.INVALID_TOKEN, str(error))
    except ExpiredToken:
        return Close(codes.CONNECTION_EXPIRED, "the refresh has an expired token")
    if identity.user != state.identity.user:
        return Close(codes.INVALID_TOKEN, "the refresh has a token of another user")
    if identity.grants.keys() != state.identity.grants.keys():
        return Close(codes.INSUFFICIENT_STATE, "the new token has other channels: the client reconnects with those")
    state.renew(identity)
    ttl = seconds_left(identity.expires_at, unix)
    return Renewed(reply_to(command_id, RefreshResult(client=state.id, expires=ttl > 0, ttl=ttl)))


def sub_refresh(
    state: SessionState, command_id: int, request: SubRefreshRequest, now: float
) -> Renewed | EndSubscriptions | Close:
    """Extends a subscription by a new token of the same channel. Raises `Rejected`, `UnknownKey`.

    An expired token ends the subscription, so that the client subscribes again with the next token: after only an
    error, SDKs would never subscribe again.
    """
    channel = request.channel
    if not channel:
        return Close(codes.BAD_REQUEST_CLOSE, "the sub_refresh has no channel")
    subscription = state.channels.get(channel)
    if subscription is None:
        raise Rejected(codes.PERMISSION_DENIED, "the client is not subscribed")
    if request.type:
        raise Rejected(codes.NOT_AVAILABLE, "shared-poll subscriptions are not offered")
    if not request.token:
        raise Rejected(codes.BAD_REQUEST, "the sub_refresh has no token")
    unix = state.unix(now)
    try:
        claims = state.policy.verifier.subscription(request.token, unix)
    except InvalidToken as error:
        return Close(codes.INVALID_TOKEN, str(error))
    except ExpiredToken:
        return _expired(subscription, channel, command_id)
    if not state.matches(claims, channel):
        return Close(
            codes.INVALID_TOKEN, "the sub_refresh has a subscription token of another channel, user or connection"
        )
    expires_at = claims.grant.expires_at
    if expires_at and expires_at <= unix:
        return _expired(subscription, channel, command_id)
    subscription.extend(expires_at, claims.grant.info)
    ttl = seconds_left(expires_at, unix)
    return Renewed(reply_to(command_id, SubRefreshResult(expires=ttl > 0, ttl=ttl)), channel)


def _expired(subscription: Subscription, channel: str, command_id: int) -> EndSubscriptions | Close:
    if subscription.server_side:
        return Close(codes.SUBSCRIPTION_EXPIRED, "the sub_refresh has an expired token")
    return EndSubscriptions((channel,), codes.UNSUBSCRIBED_EXPIRED, reply_to(command_id, Error(*codes.EXPIRED)))


def sub_refresh_by_hook(
    state: SessionState, channel: str, result: HookResult, now: float
) -> EndSubscriptions | Close | Renewed | Nothing:
    """Decides by the result of the sub_refresh hook. If it refuses, it is asked again until the grace period ends."""
    subscription = state.channels.get(channel)
    if subscription is None:  # the client has left meanwhile
        return NOTHING
    if isinstance(result, hook_results.Disconnected):
        return Close(result.close, "the sub_refresh hook disconnected the client", BY_BACKEND)
    if isinstance(result, hook_results.Refused):
        return NOTHING
    until = result.expires_at if isinstance(result, hook_results.Extended) else 1
    if 0 < until <= state.unix(now):
        if subscription.server_side:
            return Close(codes.SUBSCRIPTION_EXPIRED, "the sub_refresh hook let a subscription expire", BY_BACKEND)
        return EndSubscriptions((channel,), codes.UNSUBSCRIBED_EXPIRED, by=BY_BACKEND)
    if not isinstance(result, hook_results.Extended):
        return NOTHING
    subscription.extend(until, result.info)
    return Renewed(channel=channel)


def refresh_by_hook(state: SessionState, result: HookResult, now: float) -> Close | Renewed | Nothing:
    """Decides by the result of the refresh hook. If it refuses, it is asked again until the grace period ends."""
    match result:
        case hook_results.Refused():
            return NOTHING
        case hook_results.Disconnected(close):
            return Close(close, "the refresh hook disconnected the client", BY_BACKEND)
        case hook_results.Expired():
            return Close(codes.CONNECTION_EXPIRED, "the refresh hook let the connection expire", BY_BACKEND)
        case hook_results.Extended(expires_at, info, meta):
            if 0 < expires_at <= state.unix(now):
                why = "the refresh hook extended the connection to a time in the past"
                return Close(codes.CONNECTION_EXPIRED, why, BY_BACKEND)
            state.extend(expires_at, info, meta)
            return Renewed()
        case hook_results.Admitted() | hook_results.Unauthenticated() | hook_results.Accepted() | Grant():
            raise AssertionError(f"{type(result).__name__} does not answer the refresh hook")
        case unreachable:
            assert_never(unreachable)
