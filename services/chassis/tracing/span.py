"""A span: one step of a trace, as this process sees it. Pure: the tracer that made it has the clock.

Spans exist only for what is sampled, so that everything else costs one check for None.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, Protocol

from proto.trace_context import TraceContext
from services.chassis.metrics.histogram import Exemplar, Histogram

Value = str | int | float | bool
Attributes = dict[str, Value]

INTERNAL: Final = "INTERNAL"
SERVER: Final = "SERVER"
CLIENT: Final = "CLIENT"
PRODUCER: Final = "PRODUCER"
CONSUMER: Final = "CONSUMER"


class Event(NamedTuple):
    """Something that happened within a span, at this time (Unix nanoseconds)."""

    at: int
    name: str
    attributes: Attributes


class Tracer(Protocol):
    """Makes spans, and takes those that have ended. `recipients`: how many recipients the span of a delivery names."""

    recipients: int

    def samples(self) -> bool:
        """Decides at random whether what begins now is traced."""

    def begin(self, name: str, kind: str, parent: TraceContext | None, attributes: Attributes) -> Span:
        """Begins a span now; without a `parent` it begins a trace."""

    def now(self) -> int:
        """Unix time in nanoseconds."""

    def take(self, span: Span) -> None:
        """Takes a span that has ended. Never blocks."""


class Span:
    """One step, from `started` to `ended` (Unix nanoseconds, 0: not yet).

    `context` is passed on to its children. `parent` is the span that caused it, None for the first of a trace. `error`:
    why it failed, "" if it did not.
    """

    __slots__ = (
        "_tracer",
        "attributes",
        "context",
        "ended",
        "error",
        "events",
        "kind",
        "name",
        "parent",
        "started",
    )

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        kind: str,
        context: TraceContext,
        parent: TraceContext | None,
        started: int,
        attributes: Attributes,
    ) -> None:
        self._tracer = tracer
        self.name = name
        self.kind = kind
        self.context = context
        self.parent = parent
        self.started = started
        self.ended = 0
        self.attributes = attributes
        self.events: list[Event] = []
        self.error = ""

    def child(self, name: str, kind: str, attributes: Attributes) -> Span:
        """Begins a span that this one causes."""
        return self._tracer.begin(name, kind, self.context, attributes)

    def note(self, name: str, attributes: Attributes) -> None:
        """Notes that something happened now. The caller limits how often."""
        self.events.append(Event(self._tracer.now(), name, attributes))

    def exemplar(self, value: float) -> Exemplar:
        """This span's trace, as an example of an observation of `value` that ends now."""
        return Exemplar(value, self.context.trace_id, self._tracer.now() / 1e9)

    def fail(self, why: str) -> None:
        """Marks the span as failed, for this reason. Only the first reason counts."""
        self.error = self.error or why or "failed"

    def end(self) -> None:
        """Ends the span now, and hands it over to be sent. Only the first call counts."""
        if not self.ended:
            self.ended = self._tracer.now()
            self._tracer.take(self)

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.fail(f"{type(error).__name__}: {error}"[:200])
        self.end()


ACTIVE: Final[ContextVar[Span | None]] = ContextVar("active span", default=None)
"""The span in which this task works; tasks that it starts inherit it. Requests and log lines carry its ids."""


def active_context() -> TraceContext | None:
    """The trace context for a message that is sent now. None if nothing is traced."""
    span = ACTIVE.get()
    return None if span is None else span.context


def observe_traced(histogram: Histogram, seconds: float) -> None:
    """Observes the duration of something that just ended. The trace of the active span, if any, is an exemplar."""
    histogram.observe(seconds)
    span = ACTIVE.get()
    if span is not None:
        histogram.attach(span.exemplar(seconds))


@contextmanager
def working_in(span: Span) -> Iterator[Span]:
    """Makes a span the active one for a `with` block. The span continues after the block."""
    token = ACTIVE.set(span)
    try:
        yield span
    finally:
        ACTIVE.reset(token)


@contextmanager
def active(span: Span) -> Iterator[Span]:
    """Like `working_in`, but ends the span with the block. An exception makes it a failed span."""
    with span, working_in(span):
        yield span
