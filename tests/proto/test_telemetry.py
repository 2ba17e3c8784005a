"""Heartbeats: any of them comes back as it went."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proto import telemetry
from proto.telemetry import Heartbeat, decode_heartbeat, encode_heartbeat
from tests.proto.strategies import structs


@settings(max_examples=100, deadline=None)
@given(structs(Heartbeat))
def test_any_heartbeat_comes_back(beat: Heartbeat) -> None:
    assert decode_heartbeat(encode_heartbeat(beat)) == beat


@given(st.binary(max_size=60))
@example(b'{"service":"\xff"}')
@example(b"[" * 100_000)
def test_any_bytes_are_a_heartbeat_or_a_decode_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_heartbeat(data)


def test_a_process_is_taken_for_lost_in_time_for_the_bound_on_ghosts() -> None:
    assert telemetry.LOST_AFTER_S <= 5
    assert telemetry.LOST_AFTER_S >= 3 * telemetry.HEARTBEAT_INTERVAL_S  # one lost message proves nothing
