"""What the other systems' protocols are to the generator: what is sent, what is waited for, what is refused."""

from __future__ import annotations

import pytest

from perf.load import frames
from perf.load.dialects import Refused
from perf.load.dialects.channel_in_path import ChannelInPath
from perf.load.dialects.nats_text import NatsText
from perf.load.dialects.socketio import SocketIo


def test_a_channel_in_the_path_needs_no_step() -> None:
    assert ChannelInPath(channel="room-{i}").opening(7) == ("/ws/room-7", (), "")


def test_socket_io_waits_for_its_open_packet_its_namespace_and_its_acknowledgement() -> None:
    dialect = SocketIo(channel="room-{i}")
    steps = dialect.opening(7).steps
    assert [step.name for step in steps] == ["open", "namespace", "join"]
    assert steps[2].send == frames.frame(frames.TEXT, b'420["join","room-7"]')
    assert [dialect.accepts(n, m) for n, m in enumerate((b'0{"sid":"x"}', b'40{"sid":"x"}', b"430[]"))] == [True] * 3
    assert not dialect.accepts(2, b'42["message","early"]')
    with pytest.raises(Refused, match="no such namespace"):
        dialect.accepts(1, b'44{"message":"no such namespace"}')


def test_nats_is_subscribed_when_the_ping_behind_it_is_answered() -> None:
    dialect = NatsText(channel="room-{i}")
    info, subscribe = dialect.opening(7).steps
    assert info.send == b""
    assert subscribe.send.endswith(b"SUB room-7 1\r\nPING\r\n")
    assert dialect.accepts(0, b'INFO {"server_id":"x"} \r\n')
    assert dialect.accepts(1, b"PONG\r\n")
    with pytest.raises(Refused, match="Authorization Violation"):
        dialect.accepts(1, b"-ERR 'Authorization Violation'\r\n")


def test_nats_clients_publish_in_a_binary_frame() -> None:
    assert NatsText().publication("a", b'{"v":1}') == frames.frame(frames.BINARY, b'PUB a 7\r\n{"v":1}\r\n')
