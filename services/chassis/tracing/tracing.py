"""The tracing of a process: nothing at all if it is off, otherwise a tracer with its queue and exporter."""

from __future__ import annotations

from services.chassis.tracing.sampling_tracer import SamplingTracer
from services.chassis.tracing.settings import TracingSettings
from services.chassis.tracing.span_queue import SpanQueue

_MISSING = (
    "tracing.endpoint is set, but OpenTelemetry is not installed: install fairlead[tracing], or leave the setting out"
)


class Tracing:
    """`tracer` is None if tracing is off. Call `start` when the process serves, and `stop` at its end.

    `service` is, for example, "edge"; `name` and `instance` name this process and this run of it.
    """

    def __init__(self, settings: TracingSettings, service: str, name: str, instance: str, version: str) -> None:
        self.queue: SpanQueue | None = None
        self.tracer: SamplingTracer | None = None
        if not settings.endpoint:
            return
        try:
            from services.chassis.tracing.exporter_otlp import OtlpExporter  # 0.2 s and 20 MB, only if tracing is on
        except ImportError as error:
            raise SystemExit(f"fairlead-{service}: {_MISSING} ({error})") from None
        exporter = OtlpExporter(settings.endpoint, service, name, instance, version)
        self.queue = SpanQueue(exporter, settings.queue_size)
        self.tracer = SamplingTracer(settings.sample_ratio, settings.recipients, self.queue)

    def start(self) -> None:
        """Sends spans from now on."""
        if self.queue is not None:
            self.queue.start()

    async def stop(self) -> None:
        """Sends the waiting spans, for a limited time."""
        if self.queue is not None:
            await self.queue.stop()
