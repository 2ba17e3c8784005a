"""Formats: how messages look on one kind of transport, that is, an encoding and a framing. Pure.

A `Format` has no state, so all connections of a kind share one, and the bytes that it makes can be written to each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Final, NamedTuple

from proto.codec import Codec
from proto.codec_json import JSON
from proto.codec_protobuf import PROTOBUF
from proto.codes import CloseCode
from proto.replies import Disconnect, Push, Reply
from services.edge.framing import wire
from services.edge.framing.deflate import deflate


class Format(ABC):
    """An encoding and a framing. `transport` is the name in the settings.

    `answers_close`: the peer answers a close, and the connection waits for the answer.
    """

    answers_close = False
    pongs_natively = False
    """Send a WebSocket ping with every protocol ping; browsers answer it automatically."""

    native_ping = b""
    """A ping of the transport itself, as bytes to write; empty if it has none."""

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
        """The messages as bytes to write."""

    def farewell(self, close: CloseCode) -> bytes:
        """The last bytes of a connection, with the reason for its end."""
        return self.frame([self.encode(Reply(push=Push(disconnect=Disconnect(close.code, close.reason))))])


class Compression(NamedTuple):
    """How messages are compressed. Messages shorter than `min_bytes` are not, as they hardly shrink."""

    window_bits: int
    min_bytes: int


class _WebSocketFormat(Format):
    answers_close = True
    native_ping = wire.frame(wire.PING, b"")

    def __init__(self, transport: str, codec: Codec, compression: Compression | None = None) -> None:
        self._opcode = wire.BINARY if codec is PROTOBUF else wire.TEXT
        self._compression = compression
        super().__init__(transport, codec)

    def frame(self, messages: list[bytes]) -> bytes:
        return self._frame(self.codec.join(messages))

    def _frame(self, payload: bytes) -> bytes:
        compression = self._compression
        if compression is not None and len(payload) >= compression.min_bytes:
            squeezed = deflate(payload, compression.window_bits)
            if len(squeezed) < len(payload):
                return wire.frame(self._opcode | wire.COMPRESSED, squeezed)
        return wire.frame(self._opcode, payload)

    def farewell(self, close: CloseCode) -> bytes:
        return wire.close_frame(close.code, close.reason)


class _UniWebSocketFormat(_WebSocketFormat):
    """One push in each frame. The reason for the end is sent as a push, and in the close frame."""

    pongs_natively = True

    def __init__(self, transport: str, codec: Codec, compression: Compression | None = None) -> None:
        super().__init__(transport, codec, compression)
        self.ping += self.native_ping

    def frame(self, messages: list[bytes]) -> bytes:
        return b"".join(map(self._frame, messages))

    def farewell(self, close: CloseCode) -> bytes:
        return Format.farewell(self, close) + super().farewell(close)


class _EventStreamFormat(Format):
    """Server-sent events."""

    def frame(self, messages: list[bytes]) -> bytes:
        return b"".join(b"data: " + message + b"\n\n" for message in messages)


class _LinesFormat(Format):
    """One message per line."""

    def frame(self, messages: list[bytes]) -> bytes:
        return b"".join(message + b"\n" for message in messages)


class _DelimitedFormat(Format):
    """Messages as the codec joins them, each with its length before it."""

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


@cache
def compressed(plain: Format, compression: Compression) -> Format:
    """A WebSocket format with compression: the same object for all connections with the same agreement.

    A publication is therefore compressed once for all of them. There are few such formats: three kinds, with seven
    window sizes.
    """
    assert isinstance(plain, _WebSocketFormat)
    return type(plain)(plain.transport, plain.codec, compression)
