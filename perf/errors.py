"""The errors with which a run of perf ends without figures. `python -m perf` turns each into an exit code."""

from __future__ import annotations


class Refusal(Exception):
    """The run would not measure what was asked for, or is not allowed; nothing was started. Exit code 2.

    The text says what to do.
    """


class RunFailed(Exception):
    """The run began but did not get far enough for figures. The text says why. Exit code 1."""
