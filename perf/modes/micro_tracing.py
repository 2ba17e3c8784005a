"""What tracing costs a publish: the parts of an edge that it touches, without sockets and NATS.

Session, headers, fan-out to one subscriber (without a log), reply. If a publish is traced, the encoding of its spans
counts too, which an edge does in another thread.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from msgspec import Raw
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from proto.codec_json import JSON
from proto.messages import Publication
from proto.publications import decode_live, encode_headers
from proto.replies import PublishResult
from services.chassis.tracing.exporter_otlp import OtlpExporter
from services.chassis.tracing.sampling_tracer import SamplingTracer
from services.chassis.tracing.span import Span, active, active_context, working_in
from services.chassis.tracing.span_queue import BATCH
from services.edge.channel_settings import ChannelSection
from services.edge.channels.delivery import deliver, publishing
from services.edge.channels.namespaces import Namespaces
from services.edge.channels.subscribers import Subscribers
from services.edge.client_settings import ClientSection
from services.edge.framing.formats import WEBSOCKET_JSON
from services.edge.session.actions import Publish
from services.edge.session.effects import Effect, EndSpan, Start
from services.edge.session.outcomes import Replied
from services.edge.session.policy import CurrentPolicy, Policy
from services.edge.session.session import Session
from services.edge.session.state import SessionState
from services.edge.tokens.configured_keys import configured_keys
from services.edge.tokens.tokens import TokenVerifier

_CHANNEL = "micro"
_REPUBLISHED = b"Nats-Stream: CH_micro_0\r\nNats-Sequence: 9\r\nNats-Last-Sequence: 8\r\n\r\n"
_NOW = 1_767_225_600.0


class _Encoded:
    """A queue that encodes what it gets, batch by batch."""

    def __init__(self) -> None:
        self._exporter = OtlpExporter("http://127.0.0.1:9/v1/traces", "edge", "micro", "micro", "0")
        self._waiting: list[Span] = []

    def put(self, span: Span) -> None:
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            encode_spans([self._exporter.readable(each) for each in self._waiting]).SerializeToString()
            self._waiting.clear()


def publish(ratio: float | None, subscribers: Subscribers, payload: bytes) -> Callable[[int], None]:
    """Publishes the given number of times, tracing this share; None: an edge without tracing."""
    tracer = None if ratio is None else SamplingTracer(ratio, 3, _Encoded())
    options = ClientSection(insecure=True)
    verifier = TokenVerifier(configured_keys(options), insecure=True)
    policy = Policy(options, Namespaces(ChannelSection()), verifier, "micro", tracer=tracer)
    session = Session(SessionState("client", CurrentPolicy(policy), WEBSOCKET_JSON), _NOW + 10)
    session.commands(JSON.decode_commands(b'{"id":1,"connect":{}}', 1), 1, _NOW)
    command = b'{"id":2,"publish":{"channel":"%b","data":%b}}' % (_CHANNEL.encode(), payload)
    ids = count(1)

    def sent(action: Publish) -> bytes:
        publication = Publication(action.data, action.info)
        if action.trace is None:
            return encode_headers(publication, f"micro.{next(ids)}", trace=active_context()) or b""
        with working_in(action.trace), active(publishing(action.trace, _CHANNEL, publication)):
            return encode_headers(publication, f"micro.{next(ids)}", trace=active_context()) or b""

    def received(headers: bytes, data: Raw) -> None:
        message = decode_live(headers[:-2] + _REPUBLISHED, bytes(data))
        assert message.publication is not None
        delivery = None
        if message.trace is not None and tracer is not None:
            delivery = deliver(tracer, message.trace, _CHANNEL, message.publication)
        subscribers.fan_out(message.publication, None, 0, 0.0, delivery)

    def carried_out(effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is EndSpan:
                effect.span.end()

    def step(times: int) -> None:
        for _ in range(times):
            (start,) = session.commands(JSON.decode_commands(command, 1), len(command), _NOW)
            assert type(start) is Start and type(start.action) is Publish
            received(sent(start.action), start.action.data)
            carried_out(session.completed(start.action, Replied(PublishResult()), _NOW))

    return step
