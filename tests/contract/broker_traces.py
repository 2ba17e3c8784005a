"""What every broker does with traces: a part of `broker.BrokerContract`."""

from __future__ import annotations

from services.chassis.tracing.span import PRODUCER, working_in
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.contract.broker_publications import CHAT, PLAIN, publication
from tests.support.eventually import eventually


class BrokerTraces:
    """Tests of the contract that need `pair`, as `BrokerContract` makes it."""

    async def test_the_span_that_publishes_travels_with_a_publication(self, pair):
        a, b, _, heard = pair
        span = tracer(KeptSpans()).begin("publish", PRODUCER, None, {})
        for address in (CHAT, PLAIN):
            await b.open(address)
        await b.newest(CHAT)
        with working_in(span):
            await a.publish(CHAT, publication(1))
            await a.publish(PLAIN, publication(2))
            await a.publish_past_log(CHAT, publication(3))
        await a.publish(CHAT, publication(4))
        await a.publish(PLAIN, publication(5))
        await eventually(lambda: len(heard.lives) == 3 and len(heard.ephemerals) == 2)
        traces = {bytes(message.publication.data): message.trace for _, message in heard.lives}
        traces |= {
            bytes(one.data): trace for (_, one), trace in zip(heard.ephemerals, heard.ephemeral_traces, strict=True)
        }
        found = {int(data): trace for data, trace in traces.items()}
        assert found == {1: span.context, 2: span.context, 3: span.context, 4: None, 5: None}
        page = await b.read(CHAT, 1, 10)
        assert [entry.trace for entry in page.entries] == [span.context, None]
