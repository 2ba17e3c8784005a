"""Messages as JSON: any comes back as it went, with the fields that SDKs index. See also test_codec_protobuf."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from msgspec import Raw

from proto import codes, commands, messages, replies
from proto.codec_json import JSON
from proto.commands import Command
from proto.messages import Publication
from proto.replies import Reply, reply_to
from tests.proto.strategies import structs

FEW = settings(max_examples=100, deadline=None)


@FEW
@given(structs(Command))
def test_any_command_comes_back(command: Command) -> None:
    assert JSON.decode_commands(msgspec.json.encode(command), 1) == [command]


@FEW
@given(structs(Reply))
def test_any_reply_comes_back(reply: Reply) -> None:
    wire = JSON.encode_reply(reply)
    assert b"\n" not in wire
    assert msgspec.json.decode(wire, type=Reply) == reply


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (replies.SubscribeResult(), {"subscribe": {}}),
        (replies.UnsubscribeResult(), {"unsubscribe": {}}),
        (replies.PublishResult(), {"publish": {}}),
        (replies.RefreshResult(), {"refresh": {}}),
        (replies.SubRefreshResult(), {"sub_refresh": {}}),
        (replies.RPCResult(), {"rpc": {}}),
        (replies.PresenceResult({}), {"presence": {"presence": {}}}),
        (replies.PresenceStatsResult(0, 0), {"presence_stats": {"num_clients": 0, "num_users": 0}}),
        (replies.ConnectResult("c", "v"), {"connect": {"client": "c", "version": "v"}}),
        (replies.HistoryResult([], "", 0), {"history": {"publications": [], "epoch": "", "offset": 0}}),
        (messages.Error(*codes.BAD_REQUEST), {"error": {"code": 107, "message": "bad request"}}),
    ],
)
def test_a_result_is_present_even_when_it_is_empty(result: Any, wanted: dict[str, Any]) -> None:
    assert json.loads(JSON.encode_reply(reply_to(3, result))) == {"id": 3, **wanted}


def test_the_anonymous_user_is_written_down() -> None:
    info = messages.ClientInfo(user="", client="c")
    assert json.loads(msgspec.json.encode(Publication(data=Raw(b"1"), info=info)))["info"] == {
        "user": "",
        "client": "c",
    }


def test_of_several_requests_the_first_in_the_order_of_the_protocol_counts() -> None:
    order = ["connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history", "rpc", "send"]
    order += ["refresh", "sub_refresh"]
    for position, first in enumerate(order):
        frame = json.dumps({"id": 1} | {name: {} for name in reversed(order[position:])})
        (command,) = JSON.decode_commands(frame.encode(), 1)
        assert commands.request_of(command) is getattr(command, first)
    assert commands.request_of(Command(id=1)) is None


def test_messages_are_immutable() -> None:
    with pytest.raises(AttributeError):
        Publication(data=Raw(b"1")).offset = 2  # type: ignore[misc]  # that is the point
