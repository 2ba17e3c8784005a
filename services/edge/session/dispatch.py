"""Dispatches commands and hook results to the modules that decide on them."""

from __future__ import annotations

from typing import assert_never

from proto import codes
from proto.commands import (
    Command,
    ConnectRequest,
    HistoryRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    Request,
    RPCRequest,
    SendRequest,
    SubRefreshRequest,
    SubscribeRequest,
    UnsubscribeRequest,
    request_of,
)
from proto.events import BY_BACKEND
from services.edge.backend import hook_results
from services.edge.grants import Grant
from services.edge.rejection import Rejected, check_nesting
from services.edge.session import publish, read, refresh, subscribe
from services.edge.session.actions import CallBackend
from services.edge.session.command_kinds import kind_of
from services.edge.session.connect import connect, connect_decided
from services.edge.session.decisions import Close, Decision, ForwardMessage
from services.edge.session.outcomes import HookResult
from services.edge.session.state import SessionState


def decide_first(state: SessionState, command: Command, now: float) -> Decision:
    """Decides on a command of a client that has not connected. Raises `Rejected`, `UnknownKey`."""
    request = request_of(command)
    if isinstance(request, ConnectRequest) and command.id:
        check_nesting(request.data)
        return connect(state, command, request, now)
    why = "a command came before connect"
    return Close(codes.BAD_REQUEST_CLOSE, why, reason=why)


def decide(state: SessionState, command: Command, now: float) -> Decision:
    """Decides on a command of a connected client. Raises `Rejected`, `UnknownKey`."""
    request = request_of(command)
    if limit := state.policy.allowances.command(state.id, state.account, now):
        return _turn_away(request, limit)
    match request:
        case SubscribeRequest():
            check_nesting(request.data)
            return subscribe.subscribe(state, command, request, now)
        case UnsubscribeRequest():
            return subscribe.unsubscribe(state, command.id, request)
        case PublishRequest():
            check_nesting(request.data)
            return publish.publish(state, command, request, now)
        case HistoryRequest():
            return read.history(state, command.id, request)
        case PresenceRequest():
            return read.presence(state, command.id, request.channel, count_only=False)
        case PresenceStatsRequest():
            return read.presence(state, command.id, request.channel, count_only=True)
        case RPCRequest(method=publish.PUBLISH_RPC):
            return publish.publish_by_rpc(state, command, request, now)
        case RPCRequest():
            check_nesting(request.data)
            return CallBackend(command.id, request.method, request.data, state.caller)
        case SubRefreshRequest():
            return refresh.sub_refresh(state, command.id, request, now)
        case RefreshRequest():
            return refresh.refresh(state, command.id, request, now)
        case SendRequest():
            if state.policy.section.allow_send:
                check_nesting(request.data)
                return ForwardMessage(request.data)
            return Close(codes.NOT_AVAILABLE_CLOSE, "send commands are not accepted (client.allow_send)")
        case ConnectRequest():
            return Close(codes.BAD_REQUEST_CLOSE, "the client sent a second connect")
        case None:
            return Close(codes.BAD_REQUEST_CLOSE, "a command has no request")
        case unreachable:
            assert_never(unreachable)


def _turn_away(request: Request | None, limit: str) -> Close:
    """Raises `Rejected` (111); closes a client that would get no reply, or would disconnect because of the error."""
    if isinstance(request, SendRequest | UnsubscribeRequest):
        return Close(codes.TOO_MANY_REQUESTS_CLOSE, f"the client has reached {limit}")
    raise Rejected(codes.TOO_MANY_REQUESTS, f"the client has reached {limit}")


def decide_without_key(command: Command, connecting: bool, keys_are_fresh: bool) -> Close:
    """Decides on a command whose token names a key that the look-up did not find. Raises `Rejected`.

    If the keys could not be read, the error is temporary, so that the client tries again.
    """
    why = "the key of its token is unknown"
    if not keys_are_fresh:
        raise Rejected(codes.INTERNAL, f"{why}, and the JWKS endpoint does not answer")
    if command.subscribe is not None and not connecting:
        raise Rejected(codes.PERMISSION_DENIED, why)
    return Close(codes.INVALID_TOKEN, why)


def decide_by_hook(state: SessionState, command: Command, result: HookResult, now: float) -> Decision:
    """Decides on `command` by the result of its hook. Raises `Rejected`."""
    match result, request_of(command):
        case hook_results.Disconnected(close), _:
            return Close(close, f"a hook disconnected the client: {kind_of(command)}", BY_BACKEND)
        case hook_results.Admitted() | hook_results.Unauthenticated(), ConnectRequest() as request:
            return connect_decided(state, command.id, request, result, now)
        case Grant() as grant, SubscribeRequest() as request:
            return subscribe.subscribe_allowed(state, command.id, request, grant, now)
        case hook_results.Accepted() as accepted, PublishRequest() as request:
            return publish.publish_allowed(state, command, request, accepted)
        case _:
            raise AssertionError(f"a hook answered {type(result).__name__} to: {kind_of(command)}")
