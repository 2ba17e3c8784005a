"""The tracer of a process: decides at random what to trace, makes ids, reads the clock, and queues ended spans."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol

from proto.trace_context import TraceContext
from services.chassis.tracing.span import Attributes, Span


class Queue(Protocol):
    """Where spans wait to be sent."""

    def put(self, span: Span) -> None:
        """Takes a span, or drops it if there is no room. Never blocks."""


class SamplingTracer:
    """See `span.Tracer`. `recipients`: how many recipients the span of a delivery names."""

    def __init__(self, ratio: float, recipients: int, queue: Queue, draw: Callable[[], float] = random.random) -> None:
        self._ratio = ratio
        self._queue = queue
        self._draw = draw
        self.recipients = recipients

    def samples(self) -> bool:
        return self._draw() < self._ratio

    def begin(self, name: str, kind: str, parent: TraceContext | None, attributes: Attributes) -> Span:
        span_id = f"{random.getrandbits(64) or 1:016x}"
        if parent is None:
            context = TraceContext(f"{random.getrandbits(128) or 1:032x}", span_id)
        else:
            context = TraceContext(parent.trace_id, span_id, parent.state)
        return Span(self, name, kind, context, parent, self.now(), attributes)

    def now(self) -> int:
        return time.time_ns()

    def take(self, span: Span) -> None:
        self._queue.put(span)
