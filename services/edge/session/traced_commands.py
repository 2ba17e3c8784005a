"""Begins the spans of those commands of clients that are sampled. Pure, except for the tracer.

The client protocol has one place for a trace context: the `headers` of a connect. Even so, the edge decides at random
whether a command is traced, as strangers must not decide how much it traces.
"""

from __future__ import annotations

from proto.commands import Command, ConnectRequest, RefreshRequest, RPCRequest, SendRequest, request_of
from proto.trace_context import TRACEPARENT, TRACESTATE, TraceContext, decode_context
from services.chassis.tracing.span import SERVER, Attributes, Span, Tracer
from services.edge.session.command_kinds import kind_of


def begin_command(tracer: Tracer, client: str, command: Command) -> Span | None:
    """The span of a command; `client` is the id of its client. None if it is not traced."""
    if not tracer.samples():
        return None
    kind, request = kind_of(command), request_of(command)
    if request is None:
        return None  # a pong
    attributes: Attributes = {"fairlead.client": client, "fairlead.command": command.id}
    parent: TraceContext | None = None
    if isinstance(request, ConnectRequest):
        parent = decode_context(request.headers.get(TRACEPARENT, ""), request.headers.get(TRACESTATE, ""))
    elif isinstance(request, RPCRequest):
        attributes["rpc.method"] = request.method
    elif not isinstance(request, RefreshRequest | SendRequest):
        attributes["fairlead.channel"] = request.channel
    return tracer.begin(f"command {kind}", SERVER, parent, attributes)
