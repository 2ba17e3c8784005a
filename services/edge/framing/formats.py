"""How messages look on one kind of transport: an encoding, and what marks where a message begins and ends. Pure.

A `Format` has no state, so all connections of a kind share one, and what it makes can be written to each of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from proto.codec import Codec
from proto.codec_json import JSON
from proto.codec_protobuf import PROTOBUF
from proto.codes import CloseCode
from proto.messages import Disconnect, Push, Reply
from services.edge.framing import wire


class Format(ABC):
    """`transport` is the name in the settings. `answers_close`: the peer says goodbye too, and may be waited for."""

    answers_close = False
    pongs_natively = False
    """Whether every ping has a native one beside it, which clients answer without knowing."""

    native_ping = b""
    """A ping below the protocol, as bytes to write; empty where the transport has none."""

    def __init__(self, transport: str, codec: Codec) -> None:
        self.transport = transport
        self.codec = codec
        self.unidirectional = transport.startswith("uni_")
        self.ping = self.frame([codec.ping])

    def encode(self, reply: Reply) -> bytes:
        """A reply or push as one message. Raises `proto.codec.NotEncodable`."""
        if self.unidirectional:
            return self.codec.encode_push(reply.push or Push())
        return self.codec.encode_reply(reply)

    @abstractmethod
    def frame(self, messages: list[bytes]) -> bytes:
        """Messages as bytes to write."""

    def farewell(self, close: CloseCode) -> bytes:
        """The last bytes: they tell the client why the connection ends."""
        return self.frame([self.encode(Reply(push=Push(disconnect=Disconnect(close.code, close.reason))))])


class _WebSocketFormat(Format):
    answers_close = True
    native_ping = wire.frame(wire.PING, b"")

    def __init__(self, transport: str, codec: Codec) -> None:
        self._opcode = wire.BINARY if codec is PROTOBUF else wire.TEXT
        super().__init__(transport, codec)

    def frame(self, messages: list[bytes]) -> bytes:
        return wire.frame(self._opcode, self.codec.join(messages))

    def farewell(self, close: CloseCode) -> bytes:
        return wire.close_frame(close.code, close.reason)


class _UniWebSocketFormat(_WebSocketFormat):
    """One push a frame, and the reason of the end both as a push and in the close frame."""

    pongs_natively = True

    def __init__(self, transport: str, codec: Codec) -> None:
        super().__init__(transport, codec)
        self.ping += self.native_ping

    def frame(self, messages: list[bytes]) -> bytes:
        return b"".join(wire.frame(self._opcode, message) for message in messages)

    def farewell(self, close: CloseCode) -> bytes:
        return Format.farewell(self, close) + super().farewell(close)


class _EventStreamFormat(Format):
    """Server-sent events."""

    def frame(self, messages: list[bytes]) -> bytes:
        return b"".join(b"data: " + message + b"\n\n" for message in messages)


class _LinesFormat(Format):
    def frame(self, messages: list[bytes]) -> bytes:
        return b"".join(message + b"\n" for message in messages)


class _DelimitedFormat(Format):
    def frame(self, messages: list[bytes]) -> bytes:
        return self.codec.join(messages)


WEBSOCKET_JSON: Final[Format] = _WebSocketFormat("websocket", JSON)
WEBSOCKET_PROTOBUF: Final[Format] = _WebSocketFormat("websocket", PROTOBUF)
UNI_WEBSOCKET: Final[Format] = _UniWebSocketFormat("uni_websocket", JSON)
SSE: Final[Format] = _EventStreamFormat("sse", JSON)
UNI_SSE: Final[Format] = _EventStreamFormat("uni_sse", JSON)
HTTP_STREAM_JSON: Final[Format] = _LinesFormat("http_stream", JSON)
HTTP_STREAM_PROTOBUF: Final[Format] = _DelimitedFormat("http_stream", PROTOBUF)
UNI_HTTP_STREAM: Final[Format] = _LinesFormat("uni_http_stream", JSON)
