"""Answers requests of other edges, and of this one: for the members here, and with commands for connections here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from inspect import isawaitable
from typing import Final, assert_never

from msgspec import DecodeError

from proto.codes import CloseCode, UnsubscribeCode
from proto.control import (
    ActiveChannels,
    ChannelsFound,
    ControlAnswer,
    ControlRequest,
    CountMembers,
    DisconnectUser,
    Done,
    Emulate,
    Members,
    MembersCounted,
    MembersFound,
    Probe,
    RefreshUser,
    Selector,
    SendUser,
    SubscribeUser,
    Unknown,
    UnsubscribeUser,
)
from proto.events import BY_BACKEND, BY_EDGE
from proto.json_decoder import JsonDecoder
from proto.messages import StreamPosition
from proto.trace_context import TraceContext
from services.chassis.tracing.span import ACTIVE, SERVER, Span, Tracer, active
from services.edge.channels.node import Node
from services.edge.connection.registry import ConnectionRegistry, RegisteredConnection
from services.edge.grants import Grant
from services.edge.session.server_commands import (
    RefreshClient,
    SendToClient,
    ServerCommand,
    SubscribeClient,
    UnsubscribeClient,
)
from services.edge.session.state import SessionState

_decode_grant = JsonDecoder[Grant](Grant).decode

SURELY_OLDER_S: Final = 30.0
"""A connection that was let in longer ago than this is older than any that another edge announces now, as announcing
takes less than half of it (`single_connection`). Of two within this time, the edges' clocks say which is newer."""


class ControlHandler:
    """Answers at once, as server commands only queue in their connections; the one slow question is awaited."""

    def __init__(
        self, node: Node, registry: ConnectionRegistry, unix: Callable[[], float], tracer: Tracer | None = None
    ) -> None:
        """`unix` is the edge's wall clock."""
        self._node = node
        self._unix = unix
        self._registry = registry
        self._tracer = tracer

    def answer(
        self, request: ControlRequest, cause: TraceContext | None = None
    ) -> ControlAnswer | Awaitable[ControlAnswer]:
        """The answer of this edge to a request of another one, or of itself. `cause`: the span that asks, if any."""
        if self._tracer is None or cause is None:
            return self._answer(request)
        name = f"control {request.__struct_config__.tag}"
        return self._traced(self._tracer.begin(name, SERVER, cause, {}), request)

    async def _traced(self, span: Span, request: ControlRequest) -> ControlAnswer:
        with active(span):
            answer = self._answer(request)
            return await answer if isawaitable(answer) else answer

    def _answer(self, request: ControlRequest) -> ControlAnswer | Awaitable[ControlAnswer]:
        node = self._node
        match request:
            case Probe():
                return Done()
            case Members(channel):
                return MembersFound(node.presence.members_here(channel))
            case CountMembers(channel):
                members = node.presence.members_here(channel)
                return MembersCounted(len(members), sorted({str(member.user or "") for member in members.values()}))
            case ActiveChannels(pattern):
                return self._active_channels(pattern)
            case SubscribeUser():
                return self._subscribe(request)
            case UnsubscribeUser(to, channel, code, reason):
                return self._command(to, UnsubscribeClient(channel, UnsubscribeCode(code, reason)))
            case RefreshUser(to, expired=True):
                return self._close(to, CloseCode(3005, "connection expired"))
            case RefreshUser(to, _, expire_at, info):
                return self._command(to, RefreshClient(expire_at, info))
            case SendUser(to, data):
                return self._command(to, SendToClient(data))
            case DisconnectUser(to, code, reason, before, client):
                return self._close(to, CloseCode(code, reason), (before, client) if before else None)
            case Emulate(session, data):
                return self._emulate(session, data)
            case unreachable:
                assert_never(unreachable)

    async def _active_channels(self, pattern: str) -> ControlAnswer:
        return ChannelsFound(await self._node.presence.channels_here(pattern))

    def _subscribe(self, request: SubscribeUser) -> ControlAnswer:
        try:
            grant = _decode_grant(bytes(request.grant) or b"{}")
        except DecodeError:
            return Unknown()
        since = StreamPosition(request.recover_offset, request.recover_epoch) if request.recover else None
        return self._command(request.to, SubscribeClient(request.channel, grant, since))

    def _emulate(self, session: str, data: bytes) -> ControlAnswer:
        connection = self._registry.stream(session)
        if connection is None or connection.session.state.format.unidirectional:
            return Unknown()
        connection.message_received(data)
        return Done(1)

    def _command(self, to: Selector, command: ServerCommand) -> Done:
        chosen = list(self._chosen(to))
        if (trace := ACTIVE.get()) is not None:
            command = replace(command, trace=trace)
        for connection in chosen:
            connection.server_command(command)
        return Done(len(chosen))

    def _close(self, to: Selector, close: CloseCode, newest: tuple[int, str] | None = None) -> Done:
        """Closes those of the chosen connections that were let in before `newest`, by time and client id; None: all."""
        chosen = list(self._chosen(to))
        if newest is not None:
            before = int((self._unix() - SURELY_OLDER_S) * 1000)
            chosen = [each for each in chosen if _is_before(each.session.state, newest, before)]
        by = BY_BACKEND if newest is None else BY_EDGE
        for connection in chosen:
            connection.close(close, by=by)
        return Done(len(chosen))

    def _chosen(self, to: Selector) -> Iterator[RegisteredConnection]:
        for connection in self._registry.of_user(to.user):
            state = connection.session.state
            if (
                to.client in ("", state.id)
                and to.session in ("", state.emulation_session)
                and state.id not in to.whitelist
            ):
                yield connection


def _is_before(state: SessionState, newest: tuple[int, str], surely: int) -> bool:
    """Whether it came before `newest`; or before `surely` by this edge's clock, however wrong the other clock is."""
    return 0 < state.admitted_at < surely or (state.admitted_at > 0 and (state.admitted_at, state.id) < newest)
