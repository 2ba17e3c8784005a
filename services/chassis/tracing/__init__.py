"""Tracing with OpenTelemetry: which spans there are, who samples, and how they leave the process."""
