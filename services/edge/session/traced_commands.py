"""Begins the spans of clients' commands: of as many as are sampled. Pure but for the tracer.

The client protocol has one place for a trace context: the `headers` of a connect. Whether a command is traced is drawn
here all the same, as strangers must not decide how much an edge traces.
"""

from __future__ import annotations

from typing import assert_never

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
from proto.trace_context import TRACEPARENT, TRACESTATE, TraceContext, decode_context
from services.chassis.tracing.span import SERVER, Attributes, Span, Tracer


def begin_command(tracer: Tracer, client: str, command: Command) -> Span | None:
    """The span of this command of the client of this id; None if it is not to be traced."""
    if not tracer.samples():
        return None
    attributes: Attributes = {"fairlead.client": client, "fairlead.command": command.id}
    parent: TraceContext | None = None
    match request_of(command):
        case ConnectRequest(headers=headers):
            name = "connect"
            parent = decode_context(headers.get(TRACEPARENT, ""), headers.get(TRACESTATE, ""))
        case SubscribeRequest(channel=channel):
            name, attributes["fairlead.channel"] = "subscribe", channel
        case UnsubscribeRequest(channel=channel):
            name, attributes["fairlead.channel"] = "unsubscribe", channel
        case PublishRequest(channel=channel):
            name, attributes["fairlead.channel"] = "publish", channel
        case HistoryRequest(channel=channel):
            name, attributes["fairlead.channel"] = "history", channel
        case PresenceRequest(channel=channel) | PresenceStatsRequest(channel=channel):
            name, attributes["fairlead.channel"] = "presence", channel
        case SubRefreshRequest(channel=channel):
            name, attributes["fairlead.channel"] = "sub_refresh", channel
        case RPCRequest(method=method):
            name, attributes["rpc.method"] = "rpc", method
        case RefreshRequest():
            name = "refresh"
        case SendRequest():
            name = "send"
        case None:
            return None  # a pong
        case unreachable:
            assert_never(unreachable)
    return tracer.begin(f"command {name}", SERVER, parent, attributes)
