"""A receiver of spans, as OpenTelemetry has them on the wire: OTLP over HTTP. It may hang, as real ones do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from deploy.processes.ports import free_port


@dataclass
class Received:
    """One span. `service` and `process` are those that sent it; `parent` is "" for the first span of a trace."""

    service: str
    process: str
    name: str
    kind: str
    trace: str
    span: str
    parent: str
    state: str
    began: int
    ended: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    error: str


@dataclass
class Receiver:
    """`spans` are the spans so far. While `hangs` is set no request is answered."""

    endpoint: str
    spans: list[Received] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def of(self, trace: str) -> list[Received]:
        """The spans of a trace."""
        return [span for span in self.spans if span.trace == trace]

    def tree(self, trace: str, below: str = "") -> list[Any]:
        """The spans of a trace below the span of this id, as (process, kind, name, [children]), sorted."""
        return sorted(
            (span.process, span.kind, span.name, self.tree(trace, span.span))
            for span in self.of(trace)
            if span.parent == below
        )

    def take(self, body: bytes) -> None:
        """Keeps the spans of one request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            of = {one.key: _value(one.value) for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_received(of, span) for span in scope.spans]


def _value(value: AnyValue) -> Any:
    return getattr(value, str(value.WhichOneof("value")))


def _received(of: dict[str, Any], span: WireSpan) -> Received:
    return Received(
        of["service.name"],
        of["fairlead.process"],
        span.name,
        WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        {one.key: _value(one.value) for one in span.attributes},
        [(event.name, {one.key: _value(one.value) for one in event.attributes}) for event in span.events],
        span.status.message,
    )


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """A receiver on a port of its own, which answers."""
    port = free_port()
    receiver = Receiver(f"http://127.0.0.1:{port}/v1/traces")
    receiver.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.asked.set()
            receiver.answers.wait(30)
            receiver.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.answers.set()
            server.shutdown()
            thread.join()
