"""The interface between a system's protocol and the generator, so that the same generator measures every system.

A dialect knows what its clients listen to. It says how a client opens, what the answers mean, and what a ping looks
like. It never touches application messages: those are found by the marker of `perf.load.payload` in the bytes that
arrive, whatever is wrapped around it, so a system must pass payloads on uncompressed and unescaped (they are JSON
without a backslash).

A dialect is a frozen dataclass (it travels to the client processes), holds no state of a single client, and works on
bytes. `opening`, `accepts` and `split` are called a few times for each connection, and later only for data that may
hold a `ping`. `centrifuge` is the example to follow.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from perf.load import frames


class Step(NamedTuple):
    """One answer to wait for. Failures are counted by `name`: "timeout (subscribe)".

    `send` is sent when the step begins: whole masked frames (`frames.frame`), or b"" if an earlier step has sent it.
    """

    name: str
    send: bytes


class Opening(NamedTuple):
    """How one client gets from TCP to listening. Without steps it listens as soon as the upgrade is answered."""

    path: str  # "" stays a TCP connection that sends nothing
    steps: Sequence[Step]
    headers: str = ""
    """Further lines of the upgrade request, each ended by CRLF, such as "Sec-WebSocket-Protocol: x\\r\\n"."""


class Refused(Exception):
    """The server refused. The text is the cause by which the report counts: "error 103 permission denied"."""


@dataclass(frozen=True, slots=True)
class Dialect(abc.ABC):
    """One protocol. In `channel`, {i} is the number of the connection in the run, {room} the same modulo `rooms`."""

    channel: str = ""  # "" listens to nothing
    rooms: int = 1

    opcode: ClassVar[int] = frames.TEXT
    """The opcode of every frame, in both directions."""

    ping: ClassVar[bytes] = b""
    """A server's ping that is a message of the protocol, as `split` returns it; b"" if the protocol has none."""

    pong: ClassVar[bytes] = b""
    """The frame that answers that ping. Pings of RFC 6455 are answered without the dialect."""

    cuts_messages: ClassVar[bool] = False
    """True if a message may begin in one frame and end in the next; then every frame goes through `split`, which costs
    time.

    A message in several frames by RFC 6455's own means (continuation) is an error of the run: `frames.BadFrame`.
    """

    @abc.abstractmethod
    def opening(self, index: int) -> Opening:
        """The opening of connection `index`. Called before the run."""

    @abc.abstractmethod
    def accepts(self, step: int, message: bytes) -> bool:
        """Whether `message` is what step number `step` waits for.

        Raises `Refused`, and `frames.BadFrame` for nonsense.
        """

    def split(self, data: bytes) -> tuple[Sequence[bytes], bytes]:
        """The complete messages at the front of `data`, and the rest of it (b"" unless `cuts_messages`).

        `data` is the rest of the last frame, followed by a new one.
        """
        return (data,), b""

    def publication(self, channel: str, payload: bytes) -> bytes:
        """The frame by which a client publishes. Raises NotImplementedError if clients cannot publish."""
        raise NotImplementedError(f"{type(self).__name__} has no way to publish over its socket")

    def reconnect_opening(self, index: int, reply: bytes, last: bytes) -> Opening:
        """How a lost client opens again to get what it missed.

        `reply` ended its last opening, `last` is the end of the bytes that held its newest application message (b"" for
        none). Raises NotImplementedError if clients cannot recover.
        """
        raise NotImplementedError(f"{type(self).__name__} has no way to recover")

    def recovered(self, reply: bytes) -> bool:
        """True if the reply that ended a reconnect promises that nothing is missing."""
        return False

    def leave_frame(self) -> bytes:
        """What a client sends to leave; the server is then expected to close the connection. b"": the client just
        aborts."""
        return frames.close_frame(1000)

    def channel_of(self, index: int) -> str:
        """What connection `index` listens to."""
        return self.channel.replace("{i}", str(index)).replace("{room}", str(index % self.rooms))

    def channels(self) -> tuple[str, ...]:
        """The channels that clients share: one for each room."""
        return tuple(self.channel.replace("{room}", str(room)) for room in range(self.rooms))
