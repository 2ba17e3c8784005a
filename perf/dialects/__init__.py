"""What a system's protocol is to the generator, so that the same generator measures every system.

A dialect is told what to listen to and says how a client opens, what the answers mean, and what a ping looks like. It
never touches application messages: those are found by the marker of `perf.payload` in the bytes that arrive, whatever
is wrapped around it, so a system must pass payloads on uncompressed and unescaped (they are JSON without a backslash).

A dialect is a frozen dataclass (it travels to the client processes), holds nothing of a single client, and works on
bytes: `opening`, `accepts` and `split` are called a few times for each connection, and for nothing that arrives later
but what may hold a `ping`. `centrifuge` is the example to follow.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from perf import frames


class Step(NamedTuple):
    """One thing to wait for. `name` is what failures are filed under: "timeout (subscribe)".

    `send` goes out when the step begins: whole masked frames (`frames.frame`), or b"" when an earlier step has sent it.
    """

    name: str
    send: bytes


class Opening(NamedTuple):
    """How one client gets from TCP to listening. No steps: it listens as soon as the upgrade is answered."""

    path: str  # "" stays a TCP connection that says nothing
    steps: Sequence[Step]
    headers: str = ""
    """Further lines of the upgrade request, each ended by CRLF, such as "Sec-WebSocket-Protocol: x\\r\\n"."""


class Refused(Exception):
    """The server said no. The text is the cause that the report counts by: "error 103 permission denied"."""


@dataclass(frozen=True, slots=True)
class Dialect(abc.ABC):
    """See the module. In `channel`, {i} is the number of the connection in the run, {room} the same modulo `rooms`."""

    channel: str = ""  # "" listens to nothing
    rooms: int = 1

    opcode: ClassVar[int] = frames.TEXT
    """Of every frame in both directions."""

    ping: ClassVar[bytes] = b""
    """A server's ping that is a message of the protocol, as `split` gives it; b"" when there is none."""

    pong: ClassVar[bytes] = b""
    """The frame that answers it. Pings of RFC 6455 are answered without asking the dialect."""

    cuts_messages: ClassVar[bool] = False
    """Whether a message may begin in one frame and end in the next; then every frame goes through `split`, which costs.

    A message in several frames by RFC 6455's own means (continuation) is a finding: `frames.BadFrame`.
    """

    @abc.abstractmethod
    def opening(self, index: int) -> Opening:
        """Of connection `index`. Called before the run."""

    @abc.abstractmethod
    def accepts(self, step: int, message: bytes) -> bool:
        """Whether `message` is what step number `step` waits for. Raises `Refused`; `frames.BadFrame` for nonsense."""

    def split(self, data: bytes) -> tuple[Sequence[bytes], bytes]:
        """The whole messages at the front of `data`, and what is left of it (b"" unless `cuts_messages`).

        `data` is what was left of the last frame and a new one behind it.
        """
        return (data,), b""

    def publication(self, channel: str, payload: bytes) -> bytes:
        """The frame by which a client publishes. Raises NotImplementedError where clients cannot."""
        raise NotImplementedError(f"{type(self).__name__} has no way to publish over its socket")

    def comeback(self, index: int, reply: bytes, last: bytes) -> Opening:
        """How a lost client opens again to get what it missed.

        `reply` ended its last opening, `last` is the end of the bytes that held its newest application message (b"" for
        none). Raises NotImplementedError where a client cannot.
        """
        raise NotImplementedError(f"{type(self).__name__} has no way to recover")

    def recovered(self, reply: bytes) -> bool:
        """Whether the reply that ended a comeback promises that nothing is missing."""
        return False

    def goodbye(self) -> bytes:
        """What a client says to leave, whereupon the server is expected to close the connection; b"" just leaves."""
        return frames.close_frame(1000)

    def channel_of(self, index: int) -> str:
        """What connection `index` listens to."""
        return self.channel.replace("{i}", str(index)).replace("{room}", str(index % self.rooms))

    def channels(self) -> tuple[str, ...]:
        """Everything that somebody listens to and that is shared: one channel for each room."""
        return tuple(self.channel.replace("{room}", str(room)) for room in range(self.rooms))
