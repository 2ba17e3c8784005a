"""A WebSocket from the upgrade to the close frame: its encoding, and mistakes of the client."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest

from proto.codec_protobuf import PROTOBUF, decode_replies, encode_command
from proto.codes import CloseCode
from proto.commands import Command, ConnectRequest
from services.edge.framing.deflate import deflate, inflate
from services.edge.framing.wire import BINARY, CLOSE, COMPRESSED, PING, PONG, TEXT, close_frame, frame
from services.edge.transports.websocket import WebSocket
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.transports.upgraded import HELLO, Socket, masked
from tests.support.cluster import START, EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.transport import FakeTransport, frames_in


@pytest.fixture
async def edge() -> TestEdge:
    transports = ["websocket", "uni_websocket"]
    return await TestEdge(EdgeCluster(), transports=transports, token_hmac_secret_key=SECRET).start()


class TestUpgrade:
    """1.1."""

    @pytest.mark.parametrize(
        ("target", "offered", "confirmed", "binary"),
        [
            ("/connection/websocket", None, None, False),
            ("/connection/websocket", "", None, False),
            ("/connection/websocket", "centrifuge-json", "centrifuge-json", False),
            ("/connection/websocket", "chat, centrifuge-json", "centrifuge-json", False),
            ("/connection/websocket", "chat", None, False),
            ("/connection/websocket", "centrifuge-protobuf", "centrifuge-protobuf", True),
            ("/connection/websocket", "centrifuge-json, centrifuge-protobuf", "centrifuge-protobuf", True),
            ("/connection/websocket?cf_protocol=protobuf", None, None, True),
            ("/connection/websocket?format=protobuf", None, None, True),
            ("/connection/websocket?format=json&cf_protocol_version=v2&x", None, None, False),
            ("/connection/websocket?format=protobuf", "centrifuge-json", "centrifuge-json", True),
        ],
    )
    async def test_the_client_chooses_the_encoding(self, edge, target, offered, confirmed, binary):
        headers = {} if offered is None else {"sec_websocket_protocol": offered}
        socket = Socket(edge, target, **headers)
        assert socket.status == 101
        said = [line for line in socket.response.split("\r\n") if line.lower().startswith("sec-websocket-protocol")]
        assert [line.split(": ")[1] for line in said] == ([confirmed] if confirmed else [])
        if binary:
            socket.send(PROTOBUF.join([encode_command(Command(id=1, connect=ConnectRequest()))]), BINARY)
            await eventually(lambda: socket.frames)
            ((opcode, body),) = socket.frames
            (reply,) = decode_replies(body)
            assert opcode == BINARY and reply.connect is not None and reply.connect.client
        else:
            await socket.connected()
            assert socket.frames[0][0] == TEXT

    async def test_where_websockets_are_not(self, edge):
        for target in ("/", "/connection/websocket/", "/connection/sse"):
            socket = Socket(edge, target)
            assert socket.status == 404 and socket.transport.closing
        assert not edge.context.registry

    async def test_the_refused_request_is_logged_and_cannot_forge_log_lines(self, edge, caplog):
        caplog.set_level("INFO")
        answers = {Socket(edge, target).response for target in ("/ws?token=secret", "/\x1b[2J\n\xff", "/" + "x" * 5000)}
        plain, strange, long = caplog.messages
        assert "'/ws'" in plain and "secret" not in plain
        assert strange.isascii() and strange.isprintable() and r"/\x1b[2J\n" in strange
        assert "/xxx" in long and len(long) < 250
        (answer,) = answers
        assert answer.endswith("\r\n\r\nWebSockets are at /connection/websocket (client.transports)\n")

    async def test_a_transport_that_is_switched_off_is_not_there(self):
        edge = await TestEdge(EdgeCluster(), transports=["uni_websocket"]).start()
        assert Socket(edge).status == 404
        assert Socket(edge, "/connection/uni_websocket").status == 101

    async def test_an_edge_that_starts_or_goes_takes_nobody(self, edge):
        edge.context.admission.close()
        starting = TestEdge(EdgeCluster(), transports=["websocket"], admits=False)
        for each in (edge, starting):
            assert Socket(each).status == 503 and "Retry-After: 1" in Socket(each).response

    async def test_pages_of_strangers_may_not(self, edge):
        assert Socket(edge, origin="https://evil.example").status == 403
        edge = TestEdge(EdgeCluster(), allowed_origins=["https://*.example.com"])
        assert Socket(edge, origin="https://chat.example.com").status == 101
        assert Socket(edge).status == 101

    async def test_the_refused_origin_is_logged_and_cannot_forge_log_lines(self, edge, caplog):
        caplog.set_level("INFO")
        for origin in ("https://evil.example", "https://\x1b[2J\xff", "https://" + "x" * 5000):
            answer = Socket(edge, origin=origin).response
            assert answer.endswith("\r\n\r\nthis origin may not connect (client.allowed_origins)\n")
        plain, strange, long = caplog.messages
        assert plain.endswith("the page's origin is 'https://evil.example'")
        assert strange.isascii() and strange.isprintable() and r"'https://\x1b[2J" in strange
        assert "https://xxx" in long and len(long) < 350

    async def test_a_request_that_is_no_upgrade(self, edge):
        socket = Socket(edge, sec_websocket_version="8")
        assert socket.status == 426
        socket.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
        assert len(socket.transport.frames) == 1


class TestFrames:
    async def test_a_frame_holds_several_commands_and_a_message_several_frames(self, edge):
        socket = Socket(edge)
        whole = masked(TEXT, HELLO + b'\n{"id":2,"unsubscribe":{"channel":"x"}}')
        for start in range(0, len(whole), 7):
            socket.protocol.data_received(whole[start : start + 7])
        await eventually(lambda: [message["id"] for message in socket.messages] == [1, 2])

    async def test_pings_of_the_peer_are_answered(self, edge):
        socket = Socket(edge)
        socket.send(b"are you there", PING)
        assert socket.frames == [(PONG, b"are you there")]
        socket.send(b"unasked", PONG)
        assert socket.frames == [(PONG, b"are you there")]

    async def test_a_peer_that_breaks_the_protocol_is_told_how(self, edge):
        for data, code in (
            (frame(TEXT, HELLO), 1002),  # not masked
            (masked(TEXT, b"\xff"), 1007),
            (masked(TEXT, b"x" * 65537), 1009),
            (masked(0x3, b""), 1002),
            (masked(TEXT, b"no command"), 3501),
            (masked(TEXT, b""), 3501),
        ):
            socket = Socket(edge)
            socket.protocol.data_received(data)
            await settled()
            assert socket.close_frame[0] == code and socket.close_frame[1]
            assert socket.transport.ended is (code < 3000), "a broken wire says no more"
            assert socket.still_open, "but what is on its way is read: else the goodbye could get lost"
            socket.protocol.data_received(masked(TEXT, HELLO) + masked(PING, b""))
            assert len(socket.frames) == 1
            socket.edge.clock.time += 3
            edge.context.timing_wheel.turn(edge.clock.time)
            assert socket.transport.aborted
        assert [(event.action, event.code) for event in edge.sessions.events] == [
            ("connect", code) for code in (1002, 1007, 1009, 1002, 3501, 3501)
        ]

    async def test_the_largest_message_is_taken(self, edge):
        socket = await Socket(edge).connected()
        head, tail = b'{"id":2,"publish":{"channel":"chat:x","data":"', b'"}}'
        socket.send(head + b"x" * (65536 - len(head) - len(tail)) + tail)
        await eventually(lambda: {"id": 2, "publish": {}} in socket.messages)


class TestCompression:
    """permessage-deflate, where `client.compression` is on."""

    OFFER = "permessage-deflate; client_max_window_bits"
    LONG = json.dumps({"text": "again and " * 100}).encode()

    @pytest.fixture
    async def squeezing(self) -> TestEdge:
        return await TestEdge(EdgeCluster(), compression=True, transports=["websocket", "uni_websocket"]).start()

    async def test_it_is_off_unless_it_is_switched_on(self, edge):
        socket = Socket(edge, sec_websocket_extensions=self.OFFER)
        assert socket.status == 101 and "extensions" not in socket.response.lower()
        socket.protocol.data_received(masked(TEXT | COMPRESSED, deflate(HELLO, 15)))
        assert socket.close_frame[0] == 1002

    async def test_a_client_that_does_not_offer_it_does_not_get_it(self, squeezing):
        assert "extensions" not in Socket(squeezing).response.lower()
        assert "extensions" not in Socket(squeezing, sec_websocket_extensions="x-webkit").response.lower()

    async def test_both_ways(self, squeezing):
        socket = Socket(squeezing, sec_websocket_extensions=self.OFFER)
        assert "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n" in socket.response
        socket.protocol.data_received(masked(TEXT | COMPRESSED, deflate(HELLO, 15)))
        await eventually(lambda: len(socket.transport.frames) == 2)
        subscribe = b'{"id":2,"subscribe":{"channel":"chat:x"}}'
        socket.protocol.data_received(masked(TEXT | COMPRESSED, deflate(subscribe, 15)))
        await eventually(lambda: len(socket.transport.frames) == 3)
        await squeezing.publish("chat:x", json.loads(self.LONG))
        await eventually(lambda: len(socket.transport.frames) == 4)
        small, large = socket.transport.frames[2:]
        assert not small[0] & COMPRESSED and large[0] & COMPRESSED
        ((_, body),) = frames_in(large)
        assert json.loads(inflate(body, 65536))["push"]["pub"]["data"] == json.loads(self.LONG)
        assert len(large) < len(self.LONG) / 10

    async def test_subscribers_with_the_same_agreement_share_what_is_compressed(self, squeezing):
        offers = [self.OFFER, "permessage-deflate", "permessage-deflate; server_max_window_bits=10", ""]
        sockets = [Socket(squeezing, sec_websocket_extensions=offer) for offer in offers]
        for socket in sockets:
            socket.send(HELLO + b'\n{"id":2,"subscribe":{"channel":"chat:x"}}')
        await eventually(lambda: all(b'"id":2' in b"".join(socket.transport.frames) for socket in sockets))
        before = [len(socket.transport.frames) for socket in sockets]
        await squeezing.publish("chat:x", json.loads(self.LONG))
        await eventually(lambda: [len(socket.transport.frames) for socket in sockets] == [n + 1 for n in before])
        first, second, small_window, plain = [socket.transport.frames[-1] for socket in sockets]
        assert first is second
        assert first[0] & COMPRESSED and small_window[0] & COMPRESSED and not plain[0] & COMPRESSED

    async def test_a_bomb_and_rubbish_end_the_connection(self, squeezing):
        for payload, code in ((deflate(bytes(65537), 15), 1009), (b"\xff\xff", 1007)):
            socket = Socket(squeezing, sec_websocket_extensions=self.OFFER)
            socket.protocol.data_received(masked(TEXT | COMPRESSED, payload))
            assert socket.close_frame[0] == code and socket.transport.ended

    async def test_one_way_too(self, squeezing):
        socket = Socket(
            squeezing,
            "/connection/uni_websocket?cf_connect=%7B%22subs%22%3A%7B%22chat%3Ax%22%3A%7B%7D%7D%7D",
            sec_websocket_extensions=self.OFFER,
        )
        await eventually(lambda: len(socket.transport.frames) == 2)
        await squeezing.publish("chat:x", json.loads(self.LONG))
        await eventually(lambda: len(socket.transport.frames) == 3)
        ((_, body),) = frames_in(socket.transport.frames[-1])
        assert json.loads(inflate(body, 65536))["pub"]["data"] == json.loads(self.LONG)


class TestNativePings:
    async def test_an_occurrence_asked_for_is_delivered_alone(self, edge):
        socket = await Socket(edge, "/connection/websocket?cf_ws_frame_ping_pong=true").connected()
        assert "ping" not in socket.messages[0]["connect"]
        edge.clock.time = START + 25.25
        edge.context.timing_wheel.turn(edge.clock.time)
        assert socket.frames[-1] == (PING, b"")
        socket.send(b"", PONG)
        edge.clock.time = START + 33.5
        edge.context.timing_wheel.turn(edge.clock.time)
        assert len(socket.frames) == 2, "it answered"


class TestGoodbye:
    async def test_of_the_peer_it_is_echoed(self, edge):
        socket = await Socket(edge).connected()
        socket.send(close_frame(1000, "bye")[2:], CLOSE)
        assert socket.close_frame == (1000, "") and socket.transport.closing
        socket.protocol.connection_lost(None)
        assert not edge.context.registry and edge.tally.closes == {1000: 1}
        closed = edge.sessions.events[-1]
        assert (closed.code, closed.reason) == (1000, "bye")

    async def test_without_a_code_it_is_a_normal_one(self, edge):
        socket = await Socket(edge).connected()
        socket.send(b"", CLOSE)
        assert socket.close_frame[0] == 1000 and edge.tally.closes == {1005: 1}

    async def test_of_the_edge_it_waits_for_the_echo(self, edge):
        socket = await Socket(edge).connected()
        socket.send(HELLO)  # a second connect
        assert socket.close_frame == (3501, "bad request")
        assert socket.still_open
        socket.send(b'{"id":3}')
        socket.send(b"x", PING)
        assert len(socket.frames) == 2, "nothing is said behind it"
        socket.send(close_frame(3501, "")[2:], CLOSE)
        assert len(socket.frames) == 2, "nothing is said to it"
        assert socket.transport.closing

    @pytest.mark.parametrize("path", ["websocket", "uni_websocket"])
    async def test_3000_has_no_close_frame_as_it_means_that_the_peer_is_gone(self, edge, path):
        socket = await Socket(edge, f"/connection/{path}").connected()
        (connection,) = edge.context.registry
        heard = len(socket.frames)
        connection.close(CloseCode(3000, "moved"))
        assert len(socket.frames) == heard and socket.transport.closing
        assert edge.tally.closes == {3000: 1}

    async def test_a_socket_that_breaks_is_the_end_without_words(self, edge):
        socket = await Socket(edge).connected()
        socket.protocol.connection_lost(ConnectionResetError())
        assert not edge.context.registry and edge.tally.closes == {1006: 1}
        assert len(edge.context.timing_wheel) == 0

    async def test_the_server_s_own_shutdown_says_going_away(self, edge):
        socket = await Socket(edge).connected()
        socket.protocol.shutdown()
        assert socket.close_frame == (1001, "shutdown")

    async def test_before_the_upgrade_there_is_nobody_to_say_it_to(self, edge):
        protocol, transport = WebSocket(None, None, {"context": edge.context}), FakeTransport()
        protocol.connection_made(cast("asyncio.Transport", transport))
        protocol.pause_writing()
        protocol.resume_writing()
        protocol.shutdown()
        protocol.connection_lost(None)
        assert transport.closing and transport.frames == []


class TestUnidirectional:
    """5."""

    async def test_the_connect_comes_with_the_address(self, edge):
        socket = Socket(edge, "/connection/uni_websocket?cf_connect=%7B%22subs%22%3A%7B%22chat%3Ax%22%3A%7B%7D%7D%7D")
        await eventually(lambda: socket.messages)
        assert list(socket.messages[0]["connect"]["subs"]) == ["chat:x"] and "pong" not in socket.messages[0]["connect"]
        await edge.publish("chat:x", 1)
        await eventually(lambda: socket.messages[1:] == [{"channel": "chat:x", "pub": {"data": 1, "offset": 1}}])

    async def test_or_as_the_first_message_and_then_it_is_not_listened_to(self, edge):
        socket = Socket(edge, "/connection/uni_websocket", sec_websocket_protocol="centrifuge-protobuf")
        socket.send(json.dumps({"token": token()}).encode())
        await eventually(lambda: socket.messages)
        socket.send(b"whatever")
        socket.send(HELLO)
        assert len(socket.messages) == 1 and not socket.transport.closing

    async def test_refused_it_is_told_by_a_push_and_by_the_close_frame(self, edge):
        socket = Socket(edge, "/connection/uni_websocket")
        socket.send(json.dumps({"token": "x"}).encode())
        assert socket.messages == [{"disconnect": {"code": 3500, "reason": "invalid token"}}]
        assert socket.close_frame == (3500, "invalid token")

    async def test_a_first_command_other_than_connect_ends_the_stream(self, edge):
        socket = Socket(edge, "/connection/uni_websocket")
        socket.send(b"[]")
        assert socket.close_frame[0] == 3501

    async def test_it_is_pinged_in_both_ways_and_its_socket_answers(self, edge):
        socket = Socket(edge, "/connection/uni_websocket?cf_connect=%7B%7D")
        await eventually(lambda: socket.messages)
        for turn in (1, 2, 3):
            edge.clock.time += 25.25
            edge.context.timing_wheel.turn(edge.clock.time)
            assert socket.messages[1:] == [{}] * turn
            assert [body for opcode, body in socket.frames if opcode == PING] == [b""] * turn
            if turn < 3:
                socket.send(b"", PONG)
        edge.clock.time += 8.25
        edge.context.timing_wheel.turn(edge.clock.time)
        assert socket.close_frame == (3012, "no pong")
