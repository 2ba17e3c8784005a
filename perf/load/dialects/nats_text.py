"""NATS's own text protocol in binary frames, as nats-server's WebSocket listener speaks it.

The server puts everything that is pending for a client into one frame, never a part of a message, so messages need not
be joined across frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from perf.load import frames
from perf.load.dialects import Dialect, Opening, Refused, Step

_CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"name":"perf","lang":"perf","version":"0","protocol":1}\r\n'
_ANSWERS = (b"INFO ", b"PONG\r\n")


@dataclass(frozen=True, slots=True)
class NatsText(Dialect):
    """A channel is a subject."""

    opcode: ClassVar[int] = frames.BINARY
    ping: ClassVar[bytes] = b"PING\r\n"
    pong: ClassVar[bytes] = frames.frame(frames.BINARY, b"PONG\r\n")

    def opening(self, index: int) -> Opening:
        """SUB gets no answer, but the PING after it does, once SUB has been processed."""
        subscribe = f"SUB {self.channel_of(index)} 1\r\n".encode() if self.channel else b""
        hello = frames.frame(frames.BINARY, _CONNECT + subscribe + b"PING\r\n")
        steps: Sequence[Step] = (Step("info", b""), Step("subscribe", hello))
        return Opening("/", steps)

    def accepts(self, step: int, message: bytes) -> bool:
        if message.startswith(b"-ERR"):
            raise Refused(message[:80].decode(errors="replace").strip())
        return message.startswith(_ANSWERS[step])

    def publication(self, channel: str, payload: bytes) -> bytes:
        return frames.frame(frames.BINARY, b"PUB %b %d\r\n%b\r\n" % (channel.encode(), len(payload), payload))
