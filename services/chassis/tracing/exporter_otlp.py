"""Sends spans by OTLP over HTTP, with OpenTelemetry's exporter. Imported only if tracing is on.

A span of ours becomes one of OpenTelemetry's in the thread that sends it, so that the event loop does not pay for it.
OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, ..._CERTIFICATE, ..._COMPRESSION) work.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from proto.trace_context import TraceContext
from services.chassis.tracing.span import Span

SEND_TIMEOUT_S: Final = 5.0
"""How long a receiver may take for one request, including retries. Meanwhile spans wait in the queue, and are dropped
when it is full."""

_FLAGS: Final = TraceFlags(TraceFlags.SAMPLED)


class OtlpExporter:
    """See `span_queue.Exporter`. The process is `name` of `service`, in the run `instance`."""

    def __init__(
        self,
        endpoint: str,
        service: str,
        name: str,
        instance: str,
        version: str,
        timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=timeout_s)
        self._resource = Resource.create(
            {
                "service.namespace": "fairlead",
                "service.name": f"fairlead-{service}",
                "service.instance.id": instance,
                "service.version": version,
                "fairlead.process": name,
            }
        )
        self._scope = InstrumentationScope("fairlead", version)
        # Its lines report an unreachable receiver again and again: the counter `failed` says the same.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def send(self, spans: Sequence[Span]) -> bool:
        return self._exporter.export([self.readable(span) for span in spans]) is SpanExportResult.SUCCESS

    def stop(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations

    def readable(self, span: Span) -> ReadableSpan:
        """The span in OpenTelemetry's form."""
        return ReadableSpan(
            name=span.name,
            context=_context(span.context, is_remote=False),
            parent=None if span.parent is None else _context(span.parent, is_remote=True),
            resource=self._resource,
            attributes=dict(span.attributes),
            events=[Event(each.name, dict(each.attributes), each.at) for each in span.events],
            kind=SpanKind[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.started,
            end_time=span.ended,
            instrumentation_scope=self._scope,
        )


def _context(context: TraceContext, is_remote: bool) -> SpanContext:
    state = TraceState.from_header([context.state]) if context.state else None
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote, _FLAGS, state)
