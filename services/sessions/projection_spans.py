"""The spans of traced facts: from the moment when their transaction begins until it is committed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proto.events import EventBatch
from services.chassis.tracing.span import CONSUMER, Attributes, Span, Tracer

MAX_SPANS: Final = 64
"""Spans of one transaction. Facts of further traced commands get no span."""


def begin_projections(tracer: Tracer, batches: Sequence[EventBatch]) -> list[Span]:
    """Begins a span for each traced command that caused facts of these batches."""
    spans: list[Span] = []
    for batch in batches:
        for context in batch.contexts:
            if len(spans) < MAX_SPANS and context.sampled:
                attributes: Attributes = {
                    "messaging.system": "nats",
                    "messaging.operation.name": "project",
                    "messaging.operation.type": "process",
                    "messaging.batch.message_count": len(batch.events),
                    "db.system.name": "postgresql",
                    "fairlead.edge": batch.edge,
                }
                spans.append(tracer.begin("project facts", CONSUMER, context, attributes))
    return spans
