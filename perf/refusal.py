"""The one way in which perf says no before it starts."""

from __future__ import annotations


class Refusal(Exception):
    """The run would not measure what was asked for, or is not allowed. The text says what to do; exit code 2."""
