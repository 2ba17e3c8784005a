"""The Centrifuge dialect: what a client sends, which replies it accepts, and how it reconnects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.protocol import State
from websockets.server import ServerProtocol

from perf.load.dialects import Opening, Refused
from perf.load.dialects.centrifuge import Centrifuge
from perf.load.frames import BadFrame

SUBSCRIBED = b'{"id":2,"subscribe":{"recoverable":true,"epoch":"e","offset":7,"positioned":true}}'


def sent(opening: Opening) -> list[dict[str, Any]]:
    """The commands of its first frame."""
    server = ServerProtocol(state=State.OPEN)
    server.receive_data(opening.steps[0].send)
    [frame] = server.events_received()
    return [json.loads(line) for line in frame.data.split(b"\n")]  # type: ignore[union-attr]  # a frame, not a request


def test_connect_and_subscribe_go_out_together() -> None:
    opening = Centrifuge(channel="log:{i}").opening(5)
    assert [step.name for step in opening.steps] == ["connect", "subscribe"]
    assert sent(opening)[1] == {"id": 2, "subscribe": {"channel": "log:5"}}
    assert opening.steps[1].send == b""


def test_without_a_channel_there_is_one_step() -> None:
    assert [step.name for step in Centrifuge().opening(0).steps] == ["connect"]


def test_rooms_are_shared() -> None:
    dialect = Centrifuge(channel="log:r-{room}", rooms=3)
    assert [dialect.channel_of(index) for index in range(4)] == ["log:r-0", "log:r-1", "log:r-2", "log:r-0"]
    assert dialect.channels() == ("log:r-0", "log:r-1", "log:r-2")


def test_a_reply_ends_its_step_and_a_push_does_not() -> None:
    dialect = Centrifuge(channel="x")
    assert dialect.accepts(0, b'{"id":1,"connect":{"client":"c","version":"v"}}')
    assert dialect.accepts(1, SUBSCRIBED)
    assert not dialect.accepts(1, b'{"push":{"channel":"x","pub":{"data":1}}}')


def test_an_error_is_a_refusal_with_its_cause() -> None:
    with pytest.raises(Refused, match=r"^error 103 permission denied$"):
        Centrifuge(channel="x").accepts(1, b'{"id":2,"error":{"code":103,"message":"permission denied"}}')


@pytest.mark.parametrize("message", [b"<html>", b'{"id":1}'])
def test_nonsense_is_not_a_refusal(message: bytes) -> None:
    with pytest.raises(BadFrame):
        Centrifuge().accepts(0, message)


@pytest.mark.parametrize(
    ("last", "offset"),
    [
        (b"", 7),
        (b'{"push":{"channel":"log:1","pub":{"data":{"v":"x"},"offset":9}}}', 9),
        (b'"offset":8}}}\n{"push":{"channel":"log:1","pub":{"data":1,"offset":12,"tags":{}}}}', 12),
    ],
)
def test_it_reconnects_from_the_newest_position_that_it_saw(last: bytes, offset: int) -> None:
    request = sent(Centrifuge(channel="log:{i}").reconnect_opening(1, SUBSCRIBED, last))[1]
    assert request["subscribe"] == {"channel": "log:1", "recover": True, "epoch": "e", "offset": offset}


def test_recovered_is_what_the_server_says() -> None:
    dialect = Centrifuge()
    assert dialect.recovered(b'{"id":2,"subscribe":{"recovered":true}}')
    assert not dialect.recovered(SUBSCRIBED)
