"""The spans of traced facts: one for each command that a batch names, and no more than a bound."""

from __future__ import annotations

from proto.events import MAX_TRACES, EventBatch, traces_field
from proto.trace_context import TraceContext
from services.sessions.projection_spans import MAX_SPANS, begin_projections
from tests.chassis.tracing.receiver_double import KeptSpans, tracer


def context(number: int) -> TraceContext:
    return TraceContext(f"{number + 1:032x}", f"{number + 1:016x}")


def batch(number: int, *traces: str) -> EventBatch:
    return EventBatch("edge-a", "i", number, [], traces=list(traces))


def test_a_span_for_each_traced_command():
    contexts = [context(1), context(2)]
    named = traces_field(contexts)
    assert isinstance(named, list)
    spans = begin_projections(tracer(KeptSpans()), [EventBatch("edge-a", "i", 1, []), batch(2, *named)])
    assert [span.parent for span in spans] == contexts


def test_what_is_no_context_is_left_out():
    assert begin_projections(tracer(KeptSpans()), [batch(1, "junk", f"00-{1:032x}-{1:016x}-00")]) == []


def test_a_transaction_has_a_bounded_number():
    contexts = [context(number) for number in range(100)]
    named = traces_field(contexts)
    assert isinstance(named, list) and len(named) == MAX_TRACES
    spans = begin_projections(tracer(KeptSpans()), [batch(number, *named) for number in range(50)])
    assert len(spans) == MAX_SPANS
