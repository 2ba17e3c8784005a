"""Reading a channel's history and presence, from the command to the action (reference 3.8)."""

from __future__ import annotations

from typing import Any

import pytest

from proto.messages import StreamPosition
from services.edge.session.actions import ReadHistory, ReadPresence
from tests.edge.conversation import anonymous, connected


def history(channel: str, **request: Any) -> dict[str, Any]:
    return {"id": 4, "history": {"channel": channel, **request}}


class TestHistory:
    @pytest.mark.parametrize(
        ("asked", "read"), [(None, 0), (0, 0), (5, 5), (300, 300), (301, 300), (-1, 300), (-9, 300)]
    )
    def test_limits(self, asked: int | None, read: int) -> None:
        action = connected().does(ReadHistory, history("hist:x", **({} if asked is None else {"limit": asked})))
        assert (action.limit, action.since, action.reverse) == (read, None, False)

    def test_since_a_position(self) -> None:
        command = history("hist:x", since={"offset": 3, "epoch": "e"}, reverse=True)
        action = connected().does(ReadHistory, command)
        assert (action.since, action.reverse) == (StreamPosition(3, "e"), True)

    def test_backwards_from_the_beginning(self) -> None:
        assert connected().error(history("hist:x", since={"epoch": "e"}, reverse=True)) == 107
        connected().does(ReadHistory, history("hist:x", since={"epoch": "e"}))
        connected().does(ReadHistory, history("hist:x", reverse=True))

    @pytest.mark.parametrize(("channel", "code"), [("news", 108), ("nohist:x", 108), ("log:x", 103), ("none:x", 102)])
    def test_where_there_is_none_to_read(self, channel: str, code: int) -> None:
        assert connected().error(history(channel, limit=1)) == code

    def test_for_subscribers(self) -> None:
        client = connected()
        assert client.error(history("members:x")) == 103
        client.subscribed("members:x")
        client.does(ReadHistory, history("members:x"))

    def test_where_everything_is_allowed(self) -> None:
        anonymous(insecure=True).does(ReadHistory, history("log:x"))


class TestPresence:
    @pytest.mark.parametrize("command", ["presence", "presence_stats"])
    def test_it_is_asked_for(self, command: str) -> None:
        action = connected().does(ReadPresence, {"id": 4, command: {"channel": "seen:x"}})
        assert action == ReadPresence(4, "seen:x", count_only=command == "presence_stats")

    @pytest.mark.parametrize("command", ["presence", "presence_stats"])
    @pytest.mark.parametrize(
        ("channel", "code"),
        [("none:x", 102), ("news", 108), ("forced:x", 108), ("counted:x", 103), ("inside:x", 103), ("seen:🎉", 107)],
    )
    def test_where_there_is_none_to_see(self, command: str, channel: str, code: int) -> None:
        assert connected().error({"id": 4, command: {"channel": channel}}) == code

    def test_for_subscribers(self) -> None:
        client = connected()
        client.subscribed("inside:x")
        client.does(ReadPresence, {"id": 4, "presence": {"channel": "inside:x"}})

    def test_anonymous(self) -> None:
        assert anonymous().error({"id": 4, "presence": {"channel": "seen:x"}}) == 103
        anonymous().does(ReadPresence, {"id": 4, "presence": {"channel": "public:x"}})
