"""Joins and leaves: any of them comes back as it went."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from proto.members import Changed, Joined, Left, MemberEvent, decode_member_event, encode_member_event
from proto.messages import ClientInfo
from tests.proto.strategies import structs


@settings(max_examples=100, deadline=None)
@given(structs(Joined) | structs(Left) | structs(Changed))
def test_any_event_comes_back(event: MemberEvent) -> None:
    assert decode_member_event(encode_member_event(event)) == event


@pytest.mark.parametrize(("kind", "event"), [(Joined, "joined"), (Left, "left"), (Changed, "changed")])
def test_the_wire(kind: type[Joined] | type[Left] | type[Changed], event: str) -> None:
    info = ClientInfo(user="7", client="c", conn_info=Raw(b'{"name":"x"}'))
    wire = b'{"event":"%s","edge":"i1","info":{"user":"7","client":"c","conn_info":{"name":"x"}}}' % event.encode()
    assert encode_member_event(kind("i1", info)) == wire
    assert decode_member_event(wire) == kind("i1", info)


@given(st.binary(max_size=60))
@example(b'{"event":"moved","edge":"i1","info":{}}')
@example(b'{"event":"joined","edge":"i1"}')
@example(b'{"event":"\xff"}')
@example(b"[" * 100_000)
def test_any_bytes_are_an_event_or_a_decode_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_member_event(data)


def test_an_older_version_s_reader_skips_what_is_new() -> None:
    assert decode_member_event(b'{"event":"left","edge":"i1","info":{},"at":17}') == Left("i1", ClientInfo())
