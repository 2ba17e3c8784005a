"""The times of what is traced name their trace; those of anything else name none."""

from __future__ import annotations

import pytest

from services.chassis.metrics.histogram import Histogram
from services.chassis.tracing.span import SERVER, working_in
from services.edge.backend.measured_backend import MeasuredBackend
from services.edge.tally import Tally
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.contract.backend import ANYBODY, LONG_S, echo
from tests.edge.server_api.test_methods import Api
from tests.edge.talks import Talk
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.function_backend import FunctionBackend


def named(histogram: Histogram) -> set[str]:
    """The traces that a histogram names."""
    assert histogram.count
    return {exemplar.trace_id for _, _, exemplar in histogram.buckets() if exemplar}


@pytest.mark.parametrize("ratio", [0, 1])
async def test_a_connect(ratio: float) -> None:
    kept = KeptSpans()
    edge = await TestEdge(EdgeCluster(), tracer=tracer(kept, ratio)).start()
    await Talk(edge).connect(name="js")
    traces = {span.context.trace_id for span in kept.spans if span.name == "command connect"}
    assert len(traces) == ratio
    assert named(edge.tally.timings.connect_seconds.of("websocket", "js")) == traces


@pytest.mark.parametrize("ratio", [0, 1])
async def test_a_call_of_the_server_api(a: TestEdge, ratio: float) -> None:
    kept = KeptSpans()
    await Api(a, tracer=tracer(kept, ratio)).answer("publish", channel="chat:x", data=1)
    traces = {span.context.trace_id for span in kept.spans if span.name == "api publish"}
    assert len(traces) == ratio
    assert named(a.tally.timings.api_call_seconds.of("publish")) == traces


async def test_the_answer_of_a_backend() -> None:
    tally = Tally()
    backend = MeasuredBackend(FunctionBackend({"echo": echo}, {}), tally)
    await backend.call("echo", b"", ANYBODY, LONG_S)
    assert named(tally.timings.backend_seconds.of("nats", "rpc")) == set()
    span = tracer(KeptSpans()).begin("command rpc", SERVER, None, {})
    with working_in(span):
        await backend.call("echo", b"", ANYBODY, LONG_S)
    assert named(tally.timings.backend_seconds.of("nats", "rpc")) == {span.context.trace_id}
