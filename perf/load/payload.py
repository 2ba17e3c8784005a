"""What perf publishes: a JSON object with the time when it was due and its number within its channel. Pure.

The stamp is in the middle of a string of ASCII letters, so that it survives in whatever a system wraps around it, and
is found by its marker without decoding. Times are of `time.monotonic_ns`, the same clock for all processes.
"""

from __future__ import annotations

from collections.abc import Iterator

MARKER = b"perf@"
"""Occurs once in every payload, and in nothing else that a server sends."""

SMALLEST = 43
"""Bytes of a payload without padding."""

_TIME_AT, _TIME_END = len(MARKER), len(MARKER) + 19
_NUMBER_AT, _NUMBER_END = _TIME_END + 1, _TIME_END + 10


def payload(size: int, number: int, due_ns: int) -> bytes:
    """Exactly `size` bytes of JSON, at least `SMALLEST`. `number` counts the publications of a channel from 0."""
    stamped = b'{"v":"%b%019d@%09d@' % (MARKER, due_ns, number)
    return stamped + b"x" * (size - len(stamped) - 2) + b'"}'


def stamps(data: bytes) -> Iterator[tuple[int, int]]:
    """(due_ns, number) of every payload in `data`, in order."""
    at = data.find(MARKER)
    while at >= 0:
        yield int(data[at + _TIME_AT : at + _TIME_END]), int(data[at + _NUMBER_AT : at + _NUMBER_END])
        at = data.find(MARKER, at + _NUMBER_END)
