"""W3C trace context: which trace a message belongs to, and the span that caused it.

It travels in the headers `traceparent` and `tracestate` of HTTP requests and NATS messages. NATS keeps the case of
names; a capital T, as written by clients in Go, is accepted too. A malformed header is ignored, as the recommendation
requires: it is never a reason to refuse a message.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

MAX_STATE_LENGTH: Final = 512
"""How many characters of a `tracestate` are passed on, as the recommendation requires; a longer one is dropped as a
whole."""

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]{0,64})?")
_STATE: Final = re.compile(rf"[ -~]{{1,{MAX_STATE_LENGTH}}}")
MARK: Final = b"raceparent:"
"""Every header block with a context contains this, with either case of the name. Other blocks cost only the search for
it."""

_SAMPLED: Final = 1


class TraceContext(NamedTuple):
    """The ids of the trace (32 hexadecimal digits) and of the span (16), vendors' state, and whether it is sampled."""

    trace_id: str
    span_id: str
    state: str = ""
    sampled: bool = True


def decode_context(parent: str, state: str = "") -> TraceContext | None:
    """The context in the values of both headers; None if `parent` is not valid."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    kept = state if _STATE.fullmatch(state) else ""
    return TraceContext(trace_id, span_id, kept, bool(int(flags, 16) & _SAMPLED))


def encode_parent(context: TraceContext) -> str:
    """The value of `traceparent`."""
    return f"00-{context.trace_id}-{context.span_id}-{int(context.sampled):02x}"


def context_of(headers: bytes | None) -> TraceContext | None:
    """The context in the raw header block of a NATS message; None if there is none, which costs one search."""
    if headers is None or MARK not in headers:
        return None
    parent = _value(headers, MARK)
    return None if parent is None else decode_context(parent, _value(headers, b"racestate:") or "")


def sampled_in(headers: bytes | None) -> TraceContext | None:
    """Like `context_of`, but also None for a context that is not sampled."""
    context = context_of(headers)
    return context if context is not None and context.sampled else None


def with_context(headers: bytes | None, context: TraceContext) -> bytes:
    """A raw header block with the context added."""
    block = headers or b"NATS/1.0\r\n\r\n"
    lines = f"{TRACEPARENT}: {encode_parent(context)}\r\n"
    if context.state:
        lines += f"{TRACESTATE}: {context.state}\r\n"
    return block[:-2] + lines.encode() + block[-2:]


def _value(headers: bytes, rest: bytes) -> str | None:
    """The value of a header, by its name without the first letter, which is a t in either case."""
    for first in (b"\r\nt", b"\r\nT"):
        start = headers.rfind(first + rest)
        if start >= 0:
            start += len(first) + len(rest)
            end = headers.find(b"\r\n", start)
            return headers[start:end].strip().decode("ascii", "replace")
    return None
