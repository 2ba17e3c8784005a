"""Spans, their sampling, and the active span."""

from __future__ import annotations

import asyncio

import pytest

from proto.trace_context import TraceContext
from services.chassis.tracing.sampling_tracer import SamplingTracer
from services.chassis.tracing.span import ACTIVE, CLIENT, SERVER, active, active_context, working_in
from tests.chassis.tracing.receiver_double import KeptSpans, tracer

CAUSE = TraceContext("a" * 32, "b" * 16, "vendor=1")


def test_the_ratio_decides_what_begins_a_trace():
    draws = iter([0.0, 0.009, 0.01, 0.5])
    one = SamplingTracer(0.01, 3, KeptSpans(), draw=lambda: next(draws))
    assert [one.samples() for _ in range(4)] == [True, True, False, False]


def test_nothing_begins_a_trace_at_zero():
    assert not SamplingTracer(0, 3, KeptSpans(), draw=lambda: 0.0).samples()


def test_a_span_goes_on_with_its_cause_and_its_children_with_it():
    kept = KeptSpans()
    span = tracer(kept).begin("api publish", SERVER, CAUSE, {})
    child = span.child("rpc", CLIENT, {})
    assert span.parent == CAUSE and child.parent == span.context
    assert {span.context.trace_id, child.context.trace_id} == {CAUSE.trace_id}
    assert len({CAUSE.span_id, span.context.span_id, child.context.span_id}) == 3
    assert child.context.state == "vendor=1"


def test_a_span_without_a_cause_begins_a_trace():
    first, second = (tracer(KeptSpans()).begin("x", SERVER, None, {}) for _ in range(2))
    assert first.parent is None and first.context.trace_id != second.context.trace_id
    assert (len(first.context.trace_id), len(first.context.span_id)) == (32, 16)


def test_a_span_ends_once():
    kept = KeptSpans()
    span = tracer(kept).begin("x", SERVER, None, {})
    span.end()
    span.end()
    assert kept.spans == [span] and span.ended >= span.started


def test_what_fails_says_why_and_the_first_reason_stays():
    kept = KeptSpans()
    with pytest.raises(ValueError), active(tracer(kept).begin("x", SERVER, None, {})):
        raise ValueError("no")
    (span,) = kept.spans
    span.fail("later")
    assert span.error == "ValueError: no"


async def test_tasks_work_in_the_span_of_who_starts_them_and_nobody_else_does():
    kept = KeptSpans()
    span = tracer(kept).begin("x", SERVER, None, {})

    async def seen() -> str | None:
        context = active_context()
        return context and context.trace_id

    with working_in(span):
        inside = asyncio.create_task(seen())
        assert active_context() == span.context
    assert ACTIVE.get() is None and active_context() is None
    assert await inside == span.context.trace_id
    assert await asyncio.create_task(seen()) is None
    assert kept.spans == []
