"""How a backend publishes into a system, as bytes for a TCP connection that stays open: one class for each kind.

A target is a frozen dataclass (it travels to the publisher's process). Clients that publish over their own WebSockets
are in `client_publisher`.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from proto import subjects

PING, PONG = b"PING\r\n", b"PONG\r\n"  # NATS's


@dataclass(frozen=True, slots=True)
class PublishTarget(abc.ABC):
    """Where a backend publishes, and how."""

    port: int  # of 127.0.0.1

    answered: ClassVar[bool] = True
    """Whether each publication is answered by an HTTP response; the next one on that connection then waits for it."""

    greeting: ClassVar[bytes] = b""
    """Sent once after connecting."""

    @abc.abstractmethod
    def encode(self, channel: str, data: bytes) -> bytes:
        """The bytes of one publication of some JSON."""

    def took(self, body: bytes) -> bool:
        """Whether an answer with status 2xx and this body is a success."""
        return True

    def reply(self, data: bytes) -> bytes:
        """The reply to bytes that the system sends by itself; only for targets that do not answer publications."""
        return b""


@dataclass(frozen=True, slots=True)
class HttpPost(PublishTarget):
    """{channel} is replaced in `path` and `before`; the body is `before` + data + `after`.

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
    """The server API of Fairlead and Centrifugo, made by `server_api`. Its errors come with status 200."""

    def took(self, body: bytes) -> bool:
        return b'"error"' not in body


def server_api(port: int, api_key: str) -> ServerApi:
    return ServerApi(port, "/api/publish", b'{"channel":"{channel}","data":', b"}", f"X-API-Key: {api_key}\r\n")


@dataclass(frozen=True, slots=True)
class NatsPublish(PublishTarget):
    """Core NATS, which does not answer. The subject is the channel's name."""

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
    """Publishes to a channel of Fairlead without history, bypassing the server API, so that an edge's cost is delivery
    alone."""

    def subject(self, channel: str) -> str:
        return subjects.ephemeral(channel)


@dataclass(frozen=True, slots=True)
class FairleadLogOnNats(NatsPublish):
    """Publishes to channels with history, bypassing the server API, without waiting for JetStream's
    acknowledgements."""

    history_class: str = ""
    partitions: int = 1

    def subject(self, channel: str) -> str:
        return subjects.log_address(self.history_class, self.partitions, channel).stored
