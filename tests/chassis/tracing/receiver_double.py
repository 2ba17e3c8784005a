"""Tracers and exporters that keep what they get, for unit tests."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from services.chassis.tracing.sampling_tracer import SamplingTracer
from services.chassis.tracing.span import Span


class KeptSpans:
    """A queue that keeps everything."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def put(self, span: Span) -> None:
        self.spans.append(span)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


def tracer(kept: KeptSpans, ratio: float = 1, recipients: int = 3) -> SamplingTracer:
    return SamplingTracer(ratio, recipients, kept)


class HangingExporter:
    """Sends when the test lets it, and succeeds or fails."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.began = threading.Event()
        self.batches: list[int] = []
        self.succeeds = True
        self.stopped = False

    def send(self, spans: Sequence[Span]) -> bool:
        self.began.set()
        self.go_on.wait(30)
        self.batches.append(len(spans))
        return self.succeeds

    def stop(self) -> None:
        self.stopped = True
        self.go_on.set()
