"""Publishing to a channel, from the command to the action (reference 3.8)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proto.codec import payload
from proto.codec_protobuf import PROTOBUF, encode_command
from proto.commands import Command, PublishRequest, RPCRequest
from proto.replies import PublishResult
from services.edge.framing import formats
from services.edge.session.actions import Publish
from services.edge.session.effects import Effect
from services.edge.session.outcomes import Replied
from tests.edge.conversation import Conversation, anonymous, connected, error_in, started, started_or_none, token


def pub(channel: str, **request: Any) -> dict[str, Any]:
    return {"id": 3, "publish": {"channel": channel, "data": {"a": 1}} | request}


def published(client: Conversation, command: dict[str, Any]) -> Publish:
    """The action, which has succeeded."""
    action = client.does(Publish, command)
    client.completes(action, Replied(PublishResult()))
    return action


def protobuf() -> Conversation:
    return Conversation(format=formats.WEBSOCKET_PROTOBUF).connected()


class TestPublish:
    def test_with_permission(self) -> None:
        action = connected().does(Publish, pub("open:x"))
        assert (action.channel, bytes(action.data)) == ("open:x", b'{"a": 1}')
        assert (action.info.user, action.info.client) == ("42", "c1")
        assert (action.key, action.skip_history, action.tags) == ("", False, None)

    def test_the_publisher_is_named_with_the_info_of_its_tokens(self) -> None:
        client = Conversation().connected(info={"name": "Jo"})
        assert bytes(published(client, pub("open:x")).info.conn_info) == b'{"name":"Jo"}'
        client.subscribed("open:x", token=token(channel="open:x", info={"role": "host"}))
        info = published(client, pub("open:x")).info
        assert (bytes(info.conn_info), bytes(info.chan_info)) == (b'{"name":"Jo"}', b'{"role":"host"}')
        assert bytes(published(client, pub("open:y")).info.chan_info) == b""

    @pytest.mark.parametrize("channel", ["news", "closed:x", "talk:x"])
    def test_without_permission(self, channel: str) -> None:
        assert connected().error(pub(channel)) == 103

    def test_as_a_subscriber(self) -> None:
        client = connected()
        client.subscribed("talk:x")
        published(client, pub("talk:x"))
        assert client.error(pub("talk:y")) == 103

    def test_anonymous(self) -> None:
        assert anonymous().error(pub("open:x")) == 103
        assert anonymous().does(Publish, pub("all:x")).info.user == ""

    def test_where_everything_is_allowed(self) -> None:
        for channel in ("closed:x", "$private", "log:x"):
            anonymous(insecure=True).does(Publish, pub(channel))

    def test_names(self) -> None:
        assert connected().error(pub("none:x")) == 102
        assert connected().error(pub("open:🎉")) == 107
        assert connected().error(pub("open:" + "x" * 300)) == 107

    def test_no_data(self) -> None:
        assert connected().error({"id": 3, "publish": {"channel": "open:x"}}) == 107
        assert connected().error(pub("open:x", data=None)) == 107

    @pytest.mark.parametrize("data", [0, "", [], {}])
    def test_data_that_is_false_is_data(self, data: object) -> None:
        connected().does(Publish, pub("open:x", data=data))

    def test_of_the_map_kind(self) -> None:
        assert connected().error(pub("open:x", type=1)) == 108

    def test_data_is_handed_on_byte_for_byte(self) -> None:
        assert connected().does(Publish, pub("open:x", data="ü")).data == Raw(b'"\\u00fc"')


class TestDataFormats:
    """Protobuf clients publish any bytes, unless the namespace wants JSON."""

    def publish(self, channel: str, data: bytes) -> list[Effect]:
        frame = PROTOBUF.join([encode_command(Command(id=3, publish=PublishRequest(channel, Raw(data))))])
        (command,) = PROTOBUF.decode_commands(frame, 1)
        return _handle(command)

    @pytest.mark.parametrize("data", [b"\xff\x00", b"not json", b"{", b'{"a":1}', b"[1]"])
    def test_anything(self, data: bytes) -> None:
        for channel in ("open:x", "binary:x"):
            action = started(self.publish(channel, data))
            assert isinstance(action, Publish) and bytes(action.data) == data

    @pytest.mark.parametrize(
        ("data", "json", "is_object"),
        [
            (b'{"a":1}', True, True),
            (b' \n {"a": 1}', True, True),
            (b"[1]", True, False),
            (b'"{"', True, False),
            (b"null", True, False),
            (b"{", False, False),
            (b"{}{}", False, False),
            (b"\xff", False, False),
            (b"\xef\xbb\xbf{}", False, False),
            (b"\x0b{}", False, False),
        ],
    )
    def test_json_where_the_namespace_wants_it(self, data: bytes, json: bool, is_object: bool) -> None:
        for channel, good in (("json:x", json), ("object:x", is_object)):
            effects = self.publish(channel, data)
            if good:
                assert isinstance(started(effects), Publish)
            else:
                assert error_in(effects) == 107

    def test_nothing_at_all_where_the_namespace_has_binary_data(self) -> None:
        action = started(self.publish("binary:x", b""))
        assert isinstance(action, Publish) and not bytes(action.data)
        for channel in ("open:x", "json:x", "object:x"):
            assert error_in(self.publish(channel, b"")) == 107

    @given(st.binary(min_size=1, max_size=20))
    def test_accepted_json_data_is_json(self, data: bytes) -> None:
        action = started_or_none(self.publish("object:x", data))
        if isinstance(action, Publish):
            assert bytes(payload(data)).lstrip().startswith(b"{")


def _handle(command: Command) -> list[Effect]:
    return protobuf().takes(command)


class TestIdempotencyKeys:
    """A field of Fairlead's own, and an RPC for SDKs that do not have it."""

    def rpc(self, **data: Any) -> dict[str, Any]:
        return {"id": 3, "rpc": {"method": "fairlead.publish", "data": data}}

    def test_in_the_publish(self) -> None:
        action = connected().does(Publish, pub("open:x", idempotency_key="k"))
        assert (action.key, action.as_rpc) == ("k", False)
        assert connected().does(Publish, pub("open:x", idempotency_key="k" * 256)).key
        assert connected().error(pub("open:x", idempotency_key="k" * 257)) == 107

    def test_in_the_rpc(self) -> None:
        action = connected().does(Publish, self.rpc(channel="open:x", idempotency_key="k", data={"a": [1]}))
        assert (action.channel, action.key, action.as_rpc, bytes(action.data)) == ("open:x", "k", True, b'{"a": [1]}')

    def test_bytes_in_the_rpc(self) -> None:
        encoded = base64.b64encode(b"\xff\x00").decode()
        action = connected().does(Publish, self.rpc(channel="open:x", idempotency_key="k", b64data=encoded))
        assert bytes(action.data) == b"\xff\x00"

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"channel": "open:x", "data": 1},
            {"idempotency_key": "k", "data": 1},
            {"channel": "", "idempotency_key": "k", "data": 1},
            {"channel": "open:x", "idempotency_key": "", "data": 1},
            {"channel": "open:x", "idempotency_key": "k"},
            {"channel": "open:x", "idempotency_key": "k", "b64data": "?"},
            {"channel": "open:x", "idempotency_key": 7, "data": 1},
            {"channel": "open:x", "idempotency_key": "k" * 257, "data": 1},
        ],
    )
    def test_an_rpc_that_is_no_publish(self, data: dict[str, Any]) -> None:
        assert connected().error(self.rpc(**data)) == 107

    @pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{", b'{"channel":"\xff"}', b"[" * 100_000])
    def test_any_bytes_in_the_rpc(self, data: bytes) -> None:
        effects = _handle(Command(id=3, rpc=RPCRequest(Raw(data), "fairlead.publish")))
        assert error_in(effects) == 107

    def test_permissions_are_those_of_a_publish(self) -> None:
        for channel, code in (("closed:x", 103), ("none:x", 102), ("open:🎉", 107)):
            assert connected().error(self.rpc(channel=channel, idempotency_key="k", data=1)) == code
