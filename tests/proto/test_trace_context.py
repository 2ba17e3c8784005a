"""W3C trace context in headers: what is understood, and that nothing malformed is ever an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.trace_context import (
    MAX_STATE_LENGTH,
    TraceContext,
    context_of,
    decode_context,
    encode_parent,
    sampled_in,
    with_context,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def block(*lines: str) -> bytes:
    return "\r\n".join(("NATS/1.0", *lines, "", "")).encode()


@pytest.mark.parametrize("name", ["traceparent", "Traceparent"])
def test_a_context_in_headers_of_nats(name):
    headers = block("Nats-Msg-Id: x", f"{name}: {PARENT}", "tracestate: a=1,b=2", "Fairlead-Tags: {}")
    assert context_of(headers) == TraceContext(TRACE, SPAN, "a=1,b=2", True)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\u0663",
        f"01-{TRACE}-{SPAN}-01-{'x' * 70_000}",
    ],
)
def test_a_malformed_parent_is_ignored(parent):
    assert decode_context(parent) is None
    assert context_of(block(f"traceparent: {parent}")) is None


def test_a_later_version_is_read_as_far_as_it_is_known():
    assert decode_context(f"01-{TRACE}-{SPAN}-03-more") == TraceContext(TRACE, SPAN)


def test_a_context_that_is_not_sampled_is_one_all_the_same():
    headers = block(f"traceparent: 00-{TRACE}-{SPAN}-00")
    assert context_of(headers) == TraceContext(TRACE, SPAN, sampled=False)
    assert sampled_in(headers) is None


@pytest.mark.parametrize("state", ["x" * (MAX_STATE_LENGTH + 1), "a=\u00fc", "a\tb", ""])
def test_a_state_that_is_too_long_or_not_printable_is_dropped(state):
    assert decode_context(PARENT, state) == TraceContext(TRACE, SPAN)


@pytest.mark.parametrize("headers", [None, block("Nats-Msg-Id: x")])
def test_what_is_added_is_read_again(headers):
    for context in (TraceContext(TRACE, SPAN, "a=1"), TraceContext(TRACE, SPAN, sampled=False)):
        added = with_context(headers, context)
        assert context_of(added) == context
        assert headers is None or added.startswith(headers[:-2])


def test_the_parent_is_written_as_w3c_has_it():
    assert encode_parent(TraceContext(TRACE, SPAN)) == PARENT


@given(st.binary(max_size=200))
def test_no_bytes_are_an_error(junk):
    context_of(b"NATS/1.0\r\ntraceparent:" + junk)
    context_of(junk + b"raceparent:" + junk)
