"""Tracing with OpenTelemetry: what a span is, which traces are sampled, and how spans leave the process."""
