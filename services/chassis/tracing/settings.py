"""The section `tracing`, for all services that make spans."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.chassis.process.settings import Section, is_http_address


class TracingSettings(Section, frozen=True):
    """Where spans are sent, and how much is traced. See docs/tracing.md."""

    endpoint: str = ""
    """The URL that accepts spans by OTLP over HTTP, such as "http://127.0.0.1:4318/v1/traces". Empty: no tracing."""
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """The share of clients' commands, and of calls of the server API without a `traceparent`, that begin a trace. A
    call with a sampled `traceparent` is traced even at 0."""
    recipients: Annotated[int, Meta(ge=0, le=100)] = 3
    """How many recipients the span of a delivery names, for each edge and traced publication."""
    queue_size: Annotated[int, Meta(ge=1)] = 2048
    """How many spans may wait to be sent; further ones are dropped and counted."""

    def __post_init__(self) -> None:
        if self.endpoint and not is_http_address(self.endpoint):
            raise ValueError("expected tracing.endpoint to be an address such as http://127.0.0.1:4318/v1/traces")
