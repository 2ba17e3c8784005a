"""The tracing of a process: if off, nothing is imported; if on, spans are sent by OTLP."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from proto.trace_context import TraceContext
from services.chassis.tracing.exporter_otlp import OtlpExporter
from services.chassis.tracing.settings import TracingSettings
from services.chassis.tracing.span import PRODUCER
from services.chassis.tracing.tracing import Tracing
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.support.otlp_receiver import otlp_receiver

OFF = """
import sys
from services.edge.app import Edge
from services.edge.configuration import from_environ
settings = from_environ({"FAIRLEAD_CLIENT_INSECURE": "true", "FAIRLEAD_EDGE_BROKER": "memory"})
edge = Edge(settings, lambda: settings)
assert edge.context.policy.tracer is None
print([name for name in sys.modules if name.startswith(("opentelemetry", "google", "requests"))])
"""


def test_an_edge_that_does_not_trace_imports_nothing_for_it():
    found = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


async def test_spans_arrive_as_they_were():
    with otlp_receiver() as receiver:
        tracing = Tracing(TracingSettings(endpoint=receiver.endpoint), "edge", "edge-a", "instance", "1.0")
        assert tracing.tracer is not None
        tracing.start()
        cause = TraceContext("a" * 32, "b" * 16, "vendor=1")
        span = tracing.tracer.begin("publish", PRODUCER, cause, {"messaging.system": "nats", "size": 7})
        span.note("recipient", {"fairlead.client": "c"})
        span.fail("100 internal")
        span.end()
        await tracing.stop()
        (one,) = receiver.spans
    assert (one.service, one.process, one.name, one.kind) == ("fairlead-edge", "edge-a", "publish", "PRODUCER")
    assert (one.trace, one.span, one.parent, one.state) == (cause.trace_id, span.context.span_id, "b" * 16, "vendor=1")
    assert (one.began, one.ended, one.error) == (span.started, span.ended, "100 internal")
    assert one.attributes == {"messaging.system": "nats", "size": 7}
    assert one.events == [("recipient", {"fairlead.client": "c"})]
    assert tracing.queue is not None and tracing.queue.sent == 1


def test_a_receiver_that_is_away_is_a_failure_and_no_error():
    exporter = OtlpExporter("http://127.0.0.1:9/v1/traces", "edge", "edge-a", "instance", "1.0", timeout_s=0.1)
    assert not exporter.send([tracer(KeptSpans()).begin("x", PRODUCER, None, {})])


@pytest.mark.parametrize("wrong", [{"endpoint": "127.0.0.1:4318"}, {"sample_ratio": 1.5}, {"queue_size": 0}])
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, TracingSettings)


def test_a_ratio_may_be_written_as_a_whole_number():
    assert msgspec.convert({"sample_ratio": 1}, TracingSettings).sample_ratio == 1.0
