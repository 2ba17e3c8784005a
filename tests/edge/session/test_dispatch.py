"""Which commands a client may send, and when (client-protocol.md, sections 1.4, 3.1 and 3.8)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from services.edge.backend.backend import Caller
from services.edge.channels.subscription import AttachRequest
from services.edge.framing import formats
from services.edge.session.actions import CallBackend
from services.edge.session.effects import Forward
from tests.edge.conversation import START, Conversation, connect, connected, token


class TestBeforeConnect:
    """3.1 and 1.4."""

    @pytest.mark.parametrize(
        "command",
        [
            {},
            {"id": 1},
            {"connect": {}},
            {"send": {"data": 1}},
            {"id": 1, "subscribe": {"channel": "news"}},
            {"id": 1, "publish": {"channel": "news", "data": 1}},
            {"id": 1, "refresh": {"token": "t"}},
            {"id": 1, "rpc": {"method": "x"}},
            {"id": 1, "ping": {}},
        ],
    )
    def test_any_other_command_ends_the_connection(self, command: dict[str, Any]) -> None:
        assert Conversation(insecure=True).closed(command) == 3501

    def test_a_second_connect_ends_it_too(self) -> None:
        assert connected().closed({"id": 1, "connect": {}}) == 3501

    def test_after_a_refused_connect_everything_is_ignored(self) -> None:
        refused = Conversation()
        assert refused.error(connect(exp=START - 1)) == 109
        assert refused.says({"id": 2, "subscribe": {"channel": "news"}}) == []
        assert refused.says({}) == []
        assert refused.says({"id": 3, "connect": {"token": token()}}) == []


class TestDispatch:
    """3.1."""

    @pytest.mark.parametrize("command", [{"id": 7}, {"id": 7, "ping": {}}, {"id": 7, "unknown": {}}])
    def test_no_request(self, command: dict[str, Any]) -> None:
        assert connected().closed(command) == 3501

    @pytest.mark.parametrize(
        "name",
        ["subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history", "sub_refresh"],
    )
    @pytest.mark.parametrize("insecure", [True, False])
    def test_an_empty_channel(self, name: str, insecure: bool) -> None:
        assert connected(insecure=insecure).closed({"id": 7, name: {}}) == 3501

    @pytest.mark.parametrize("name", ["subscribe", "publish", "history", "presence", "rpc", "refresh"])
    def test_a_request_without_an_id_is_an_unasked_pong(self, name: str) -> None:
        assert connected().closed({name: {"channel": "news"}}) == 3501

    def test_so_is_one_with_a_message_behind_it(self) -> None:
        assert connected(allow_send=True).closed({"subscribe": {"channel": "news"}, "send": {"data": 1}}) == 3501

    def test_the_first_request_in_the_order_of_the_reference_counts(self) -> None:
        connected().does(AttachRequest, {"id": 7, "rpc": {"method": "x"}, "subscribe": {"channel": "news"}})


class TestBackend:
    """3.8: commands that the edge hands on."""

    def test_an_rpc_is_for_a_backend(self) -> None:
        conversation = connected()
        call = conversation.does(CallBackend, {"id": 3, "rpc": {"method": "orders.list", "data": {"page": 1}}})
        assert call == CallBackend(3, "orders.list", Raw(b'{"page": 1}'), conversation.state.caller)

    def test_a_backend_is_told_for_whom_it_works(self) -> None:
        caller = Conversation(format=formats.WEBSOCKET_PROTOBUF).connected(info={"n": 1}, meta={"m": 2}).state.caller
        assert caller == Caller("42", "c1", Raw(b'{"n":1}'), Raw(b'{"m":2}'), "websocket", "protobuf")

    def test_send_is_not_available_unless_it_is_switched_on(self) -> None:
        assert connected().closed({"send": {"data": 1}}) == 3508
        client = connected(allow_send=True)
        assert client.says({"send": {"data": 1}}) == [Forward(client.state.caller, Raw(b"1"))]
        assert client.says({"id": 4, "send": {}}) == [Forward(client.state.caller, Raw(b""))]
