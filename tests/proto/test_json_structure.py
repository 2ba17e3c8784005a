"""What a frame of JSON can make an edge do, counted in lines of Python that run, not in time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import pytest

from proto.codec import BadFrame
from proto.codec_json import JSON, decode_connect
from proto.commands import Command
from proto.json_structure import PARTS_PER_FRAME

STEPS = 2000
"""Python lines that decoding any frame of 64 KiB may take, as against 4 for each of its objects."""


def filtered(nodes: int, first: bytes = b'{"op":null}', more: bytes = b"", channel: bytes = b"a") -> bytes:
    """A subscribe with a tags filter of many nodes."""
    tree = b",".join([first, *[b"{}"] * nodes])
    return b'{"id":1,"subscribe":{"channel":"%s"%s,"tf":{"nodes":[%s]}}}' % (channel, more, tree)


def steps(work: Callable[[], object]) -> int:
    """The lines of Python that run."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event in ("line", "call")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except BadFrame:
        pass
    finally:
        sys.settrace(before)
    return count


HOSTILE = {
    "null in a node": filtered(20_900),
    "null in the last node": filtered(0, b",".join([b"{}"] * 20_000 + [b'{"op":null}'])),
    "a little below the bound": filtered(PARTS_PER_FRAME // 2 - 20),
    "null as data": filtered(20_900, b"{}", b',"data":null'),
    "a channel called null": filtered(20_900, b"{}", channel=b"null"),
    "half of an emoji": filtered(4_000, channel=b"\\ud83d"),
    "vals": filtered(0, b'{"op":null,"vals":[%s]}' % b",".join([b'"\\u0041"'] * 6_000)),
    "null in headers": b'{"id":1,"connect":{"token":null,"headers":{%s}}}'
    % b",".join(b'"%d":""' % n for n in range(6_000)),
    "depth": b'{"id":1,"publish":{"data":%s%s%s}}' % (b"[" * 3000, b",".join([b'""'] * 19_000), b"]" * 3000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_frame_costs_a_step_for_each_of_its_objects(name: str) -> None:
    assert len(HOSTILE[name]) <= 65_536
    steps(lambda: JSON.decode_commands(HOSTILE[name], 256))  # some is prepared once
    assert steps(lambda: JSON.decode_commands(HOSTILE[name], 256)) < STEPS


def test_a_frame_with_more_objects_than_commands_need_is_refused_before_it_is_decoded_again() -> None:
    for frame in (filtered(20_900), filtered(20_900, b"{}", b',"data":null'), filtered(30_000, b"{}")):
        with pytest.raises(BadFrame, match="too many fields"):
            JSON.decode_commands(frame, 256)
    twice = b'{"id":1,"subscribe":{"tf":{"nodes":[%s]},"tf":null}}' % b",".join([b"{}"] * 30_000)
    with pytest.raises(BadFrame, match="too many fields"):
        JSON.decode_commands(twice, 256)
    with pytest.raises(BadFrame, match="too many fields"):
        decode_connect(b'{"subs":{%s}}' % b",".join(b'"%d":{}' % n for n in range(6_000)), 256)


def test_payloads_do_not_count() -> None:
    large = msgspec.json.encode([{"a": None, "b": {}}] * 4_000)
    for request in ("publish", "rpc", "send", "subscribe", "connect"):
        for more in (b"", b',"unknown":null', b',"channel":null', b',"token":null,"method":null'):
            frame = b'{"id":null,"%s":{"data":%s%s}}' % (request.encode(), large, more)
            (command,) = JSON.decode_commands(frame, 256)
            assert bytes(getattr(command, request).data) == large


def test_there_is_room_for_all_that_a_client_comes_back_with() -> None:
    sub = b'"room-%d":{"recover":true,"epoch":"abcd","offset":7,"token":null}'
    connect = b'{"id":1,"connect":{"subs":{%s}}}' % b",".join(sub % n for n in range(10_000))
    (command,) = JSON.decode_commands(connect, 10_001)
    assert command.connect is not None and len(command.connect.subs) == 10_000
    one = (
        b'{"id":%d,"subscribe":{"channel":"room","token":null,"recover":true,"epoch":"abcd","offset":7,"recoverable":true'
        b',"positioned":true,"join_leave":true,"delta":"fossil","flag":1}}'
    )
    commands: list[Command] = JSON.decode_commands(b"\n".join(one % n for n in range(1, 10_001)), 10_001)
    assert len(commands) == 10_000
