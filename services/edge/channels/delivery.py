"""The spans of a traced publication: its publish, and on each edge its delivery. Pure.

A delivery begins when the publication has come to the edge, and ends when every subscriber here has had its turn. It
names a few of the recipients, as events, and counts all: a large channel would need a million spans otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable

from proto.messages import Publication
from proto.trace_context import TraceContext
from services.chassis.tracing.span import CONSUMER, PRODUCER, Attributes, Span, Tracer
from services.edge.channels.subscriber import Subscriber
from services.edge.channels.subscription import Subscription

Recipients = Iterable[tuple[Subscriber, Subscription]]


class Delivery:
    """Traces one publication, which was accepted at `published_at` (see `LiveMessage`).

    `recipients`: how many recipients it may name.
    """

    __slots__ = ("_recipients", "_span", "published_at")

    def __init__(self, span: Span, recipients: int, published_at: float) -> None:
        self._span = span
        self._recipients = recipients
        self.published_at = published_at

    @property
    def trace_id(self) -> str:
        """The trace that it is part of."""
        return self._span.context.trace_id

    def note(self, recipients: Recipients) -> None:
        """These recipients have had their turn."""
        if not self._recipients:
            return
        for subscriber, _ in recipients:
            self._recipients -= 1
            self._span.note("recipient", subscriber.owner.described())
            if not self._recipients:
                return

    def end(self, subscribers: int) -> None:
        """All `subscribers` have had their turn."""
        self._span.attributes["fairlead.subscribers"] = subscribers
        self._span.end()


def deliver(
    tracer: Tracer, trace: TraceContext, channel: str, publication: Publication, published_at: float = 0.0
) -> Delivery:
    """Begins the span of a publication that has come to this edge."""
    attributes: Attributes = {
        "messaging.system": "nats",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "messaging.destination.name": channel,
        "messaging.message.body.size": len(bytes(publication.data)),
        "fairlead.offset": publication.offset,
    }
    return Delivery(tracer.begin("deliver", CONSUMER, trace, attributes), tracer.recipients, published_at)


def publishing(cause: Span, channel: str, publication: Publication) -> Span:
    """Begins the span of a publish, which ends when the broker has the publication."""
    attributes: Attributes = {
        "messaging.system": "nats",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": channel,
        "messaging.message.body.size": len(bytes(publication.data)),
    }
    return cause.child("publish", PRODUCER, attributes)
