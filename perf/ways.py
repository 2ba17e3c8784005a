"""How a backend publishes into a system: bytes for a TCP connection that stays open. One `Way` for each kind of system.

A way is a frozen dataclass (it travels to the publisher's process). Clients that publish over their own WebSockets are
`perf.speaker`'s.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from proto import subjects

PING, PONG = b"PING\r\n", b"PONG\r\n"  # NATS's


@dataclass(frozen=True, slots=True)
class Way(abc.ABC):
    port: int  # of 127.0.0.1

    answered: ClassVar[bool] = True
    """Whether each publication is answered by an HTTP response; then the next one on that connection waits for it."""

    greeting: ClassVar[bytes] = b""
    """Sent once after connecting."""

    @abc.abstractmethod
    def encode(self, channel: str, data: bytes) -> bytes:
        """One publication of some JSON."""

    def took(self, body: bytes) -> bool:
        """Whether an answer of status 2xx with this body is a success."""
        return True

    def reply(self, data: bytes) -> bytes:
        """What to say to bytes that arrive unasked, where publications are not answered."""
        return b""


@dataclass(frozen=True, slots=True)
class HttpPost(Way):
    """{channel} is filled in in `path` and `before`; the body is `before` + data + `after`.

    `headers` are further lines, each ended by CRLF.
    """

    path: str = "/"
    before: bytes = b""
    after: bytes = b""
    headers: str = ""

    def encode(self, channel: str, data: bytes) -> bytes:
        body = self.before.replace(b"{channel}", channel.encode()) + data + self.after
        head = (
            f"POST {self.path.replace('{channel}', channel)} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: application/json\r\n{self.headers}Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True, slots=True)
class ServerApi(HttpPost):
    """The server API of Fairlead and Centrifugo, made by `server_api`. An error comes with status 200."""

    def took(self, body: bytes) -> bool:
        return b'"error"' not in body


def server_api(port: int, api_key: str) -> ServerApi:
    return ServerApi(port, "/api/publish", b'{"channel":"{channel}","data":', b"}", f"X-API-Key: {api_key}\r\n")


@dataclass(frozen=True, slots=True)
class NatsPublish(Way):
    """Core NATS: nothing comes back. The subject is the channel's name."""

    answered: ClassVar[bool] = False
    greeting: ClassVar[bytes] = b'CONNECT {"verbose":false}\r\n'

    def subject(self, channel: str) -> str:
        return channel

    def encode(self, channel: str, data: bytes) -> bytes:
        return b"PUB %b %d\r\n%b\r\n" % (self.subject(channel).encode(), len(data), data)

    def reply(self, data: bytes) -> bytes:
        return PONG if PING in data else b""


@dataclass(frozen=True, slots=True)
class FairleadOnNats(NatsPublish):
    """Into a channel of Fairlead without history, past its server API: the edge's cost is that of delivery alone."""

    def subject(self, channel: str) -> str:
        return subjects.ephemeral(channel)
