"""Spans leave in a thread of their own: a receiver that hangs costs spans, which are counted, and nothing else."""

from __future__ import annotations

import logging

import pytest

from services.chassis.tracing.span import INTERNAL
from services.chassis.tracing.span_queue import BATCH, SpanQueue
from tests.chassis.tracing.receiver_double import HangingExporter, KeptSpans, tracer
from tests.support.eventually import eventually

SPAN = tracer(KeptSpans()).begin("x", INTERNAL, None, {})


async def test_a_receiver_that_hangs_blocks_nobody_and_what_does_not_fit_is_counted():
    exporter = HangingExporter()
    queue = SpanQueue(exporter, size=100)
    queue.start()
    queue.put(SPAN)
    await eventually(exporter.began.is_set)
    for _ in range(250):
        queue.put(SPAN)  # returns at once: the thread waits for the receiver
    assert (len(queue), queue.dropped, queue.sent) == (100, 150, 0)
    exporter.go_on.set()
    await eventually(lambda: queue.sent == 101)
    assert (len(queue), queue.dropped, queue.failed) == (0, 150, 0)
    assert max(exporter.batches) <= BATCH
    await queue.stop()


async def test_the_end_of_a_process_sends_what_waits():
    exporter = HangingExporter()
    exporter.go_on.set()
    queue = SpanQueue(exporter, size=100)
    queue.start()
    for _ in range(10):
        queue.put(SPAN)
    await queue.stop()
    assert queue.sent == 10


async def test_the_end_of_a_process_waits_for_a_hanging_receiver_for_a_bounded_time(caplog: pytest.LogCaptureFixture):
    exporter = HangingExporter()
    queue = SpanQueue(exporter, size=100)
    queue.start()
    for _ in range(BATCH + 5):
        queue.put(SPAN)
    await eventually(exporter.began.is_set)
    await queue.stop(within_s=0.05)
    assert exporter.stopped and "5 spans were not sent" in caplog.text


async def test_spans_that_cannot_be_sent_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    exporter = HangingExporter()
    exporter.succeeds = False
    exporter.go_on.set()
    queue = SpanQueue(exporter, size=1000)
    queue.start()
    for _ in range(3 * BATCH):
        queue.put(SPAN)
    await eventually(lambda: queue.failed == 3 * BATCH)
    exporter.succeeds = True
    queue.put(SPAN)
    await queue.stop()
    lines = [record.message for record in caplog.records if record.name.endswith("span_queue")]
    assert lines == ["spans cannot be sent (tracing.endpoint): they are lost, and counted", "spans are sent again"]
    assert queue.sent == 1


async def test_a_queue_that_was_never_started_stops():
    await SpanQueue(HangingExporter(), size=1).stop()
