"""Decides who may connect, and to which channels the client is subscribed from the start. Does no I/O."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from proto import codes
from proto.codes import CloseCode, ErrorCode
from proto.commands import Command, ConnectRequest, SubscribeRequest
from proto.messages import NO_DATA
from proto.replies import ConnectResult
from services.edge.backend import hook_questions, hook_results
from services.edge.channels.namespaces import personal_channel
from services.edge.client_settings import ClientSection
from services.edge.grants import Grant, seconds_left
from services.edge.rejection import Rejected
from services.edge.session import subscribe
from services.edge.session.actions import AskHook, Connect
from services.edge.session.decisions import Close
from services.edge.session.state import SessionState
from services.edge.tokens.tokens import ExpiredToken, Identity, InvalidToken

_CLOSE_FOR_ERROR: Final = {
    codes.TOKEN_EXPIRED.code: codes.CONNECTION_EXPIRED,
    codes.EXPIRED.code: codes.CONNECTION_EXPIRED,
    codes.TOO_MANY_REQUESTS.code: codes.TOO_MANY_REQUESTS_CLOSE,
    codes.PERMISSION_DENIED.code: codes.PERMISSION_DENIED_CLOSE,
}

_NOT_ANONYMOUS: Final = "anonymous clients are not allowed"

Decided = Connect | AskHook | Close


def close_for_error(error: ErrorCode, section: ClientSection) -> CloseCode:
    """The close code for an error of a unidirectional client's connect: it gets no replies. Settings may change it."""
    for each in section.connect_code_to_unidirectional_disconnect:
        if each.code == error.code:
            return CloseCode(each.to.code, each.to.reason)
    return _CLOSE_FOR_ERROR.get(error.code, codes.INTERNAL_CLOSE)


def connect(state: SessionState, command: Command, request: ConnectRequest, now: float) -> Decided:
    """Decides by token, hook, an authenticating proxy, or the settings for anonymous clients.

    Raises `Rejected`, `UnknownKey`.
    """
    section = state.policy.section
    state.introduce(request)
    if request.token:
        try:
            identity = state.policy.verifier.connection(request.token, state.unix(now))
        except InvalidToken as error:
            return Close(codes.INVALID_TOKEN, str(error))
        except ExpiredToken as error:
            state.admit(Identity(error.user))  # so that what is logged names the user
            raise Rejected(codes.TOKEN_EXPIRED, str(error)) from None
        if not identity.user and section.disallow_anonymous_connection_tokens:
            return _refused(codes.PERMISSION_DENIED_CLOSE, "the token has no user")
        return _admit(state, command.id, request, identity, NO_DATA, now)
    user = state.arrival.user
    if section.connect_hook:
        if user:
            state.admit(Identity(user))  # so that the question names the user
        caller, backend, allow = state.caller, section.connect_backend, section.hook_when_away == "allow"
        question = hook_questions.connect_question(caller, request, state.policy.form(backend))
        return AskHook("connect", command, question, caller, section.hook_timeout, allow, backend)
    if not user and not state.policy.anonymous_may_connect:
        return _refused(codes.BAD_REQUEST_CLOSE, f"no token, and {_NOT_ANONYMOUS}")
    return _admit(state, command.id, request, Identity(user), NO_DATA, now)


def connect_decided(
    state: SessionState,
    command_id: int,
    request: ConnectRequest,
    result: hook_results.Admitted | hook_results.Unauthenticated,
    now: float,
) -> Connect | Close:
    """Decides by the result of the connect hook. Raises `Rejected`."""
    if isinstance(result, hook_results.Unauthenticated):
        if not state.arrival.user and not state.policy.anonymous_may_connect:
            return _refused(codes.BAD_REQUEST_CLOSE, f"no token, the connect hook knows no user, and {_NOT_ANONYMOUS}")
        return _admit(state, command_id, request, Identity(state.arrival.user), NO_DATA, now)
    if result.expires_at and result.expires_at <= state.unix(now):
        raise Rejected(codes.EXPIRED, "the connect hook admits the client until a time in the past")
    identity = Identity(
        user=result.user or state.arrival.user,
        expires_at=result.expires_at,
        info=result.info,
        meta=result.meta,
        grants=result.subs,
    )
    return _admit(state, command_id, request, identity, result.data, now, result.connection_limit)


def _admit(
    state: SessionState,
    command_id: int,
    request: ConnectRequest,
    identity: Identity,
    data: Raw,
    now: float,
    connection_limit: int = 0,
) -> Connect | Close:
    """`connection_limit` is the hook's; with 0, that of the settings holds."""
    policy, section = state.policy, state.policy.section
    at = int(state.unix(now) * 1000) if section.single_connection else 0
    state.admit(identity, at)  # first, so that what is logged of a refusal names the user
    limit = connection_limit or section.user_connection_limit
    if limit and identity.user and policy.connections_of(identity.user) >= limit:
        whose = "the connect hook's connection_limit" if connection_limit else "client.user_connection_limit"
        return Close(codes.CONNECTION_LIMIT, f"the user has reached {whose}")
    grants = _grants(state, request.subs)
    if len(grants) > section.channel_limit:
        why = f"the token, the connect hook and the client ask for {len(grants)} channels in all"
        return Close(codes.CHANNEL_LIMIT, f"{why}, more than client.channel_limit")
    nothing = SubscribeRequest()
    requests = [
        subscribe.server_side(state, channel, grant, request.subs.get(channel, nothing), now)
        for channel, grant in grants.items()
    ]
    refreshes = identity.expires_at > 0 and not section.refresh_hook and not state.format.unidirectional
    result = ConnectResult(
        client=state.id,
        version=policy.version,
        expires=refreshes,
        ttl=seconds_left(identity.expires_at, state.unix(now)) if refreshes else 0,
        data=data,
        ping=0 if state.native_pings else int(section.ping_interval),
        pong=state.answers_pings,
        session=state.emulation_session,
        node=policy.instance if state.emulation_session else "",
        time=int(state.unix(now) * 1000) if section.connect_include_server_time else 0,
    )
    return Connect(command_id, result, requests)


def _refused(close: CloseCode, why: str) -> Close:
    return Close(close, why, reason=why)


def _grants(state: SessionState, requested: dict[str, SubscribeRequest]) -> dict[str, Grant]:
    """The channels of a client that connects: by its token or hook, its personal one, and on a unidirectional
    transport those that it asks for. Raises `Rejected`.
    """
    section, user = state.policy.section, state.identity.user
    grants = dict(state.identity.grants)
    if section.subscribe_to_user_personal_channel and user:
        grants.setdefault(personal_channel(user, section.user_personal_channel_namespace), Grant())
    if state.format.unidirectional:
        for channel, request in requested.items():
            if channel not in grants:
                subscribe.check_asked_at_connect(state, channel, request)
                grants[channel] = Grant()
    return grants
