"""Socket.IO 4 (Engine.IO 4) over WebSocket alone: open, the default namespace, then `join` with an acknowledgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from perf.load import frames
from perf.load.dialects import Dialect, Opening, Refused, Step

_ANSWERS = (b"0{", b"40{", b"430[")
"""Engine.IO open; connected to the namespace; acknowledgement number 0."""


@dataclass(frozen=True, slots=True)
class SocketIo(Dialect):
    path: str = "/socket.io/?EIO=4&transport=websocket"

    ping: ClassVar[bytes] = b"2"
    pong: ClassVar[bytes] = frames.frame(frames.TEXT, b"3")

    def opening(self, index: int) -> Opening:
        steps: Sequence[Step] = (Step("open", b""), Step("namespace", frames.frame(frames.TEXT, b"40")))
        if self.channel:
            join = b"420" + msgspec.json.encode(["join", self.channel_of(index)])
            steps = (*steps, Step("join", frames.frame(frames.TEXT, join)))
        return Opening(self.path, steps)

    def accepts(self, step: int, message: bytes) -> bool:
        if message.startswith(b"44"):
            raise Refused(f"connect error {message[2:80].decode(errors='replace')}")
        return message.startswith(_ANSWERS[step])
