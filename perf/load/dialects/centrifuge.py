"""The Centrifuge client protocol in JSON, as Fairlead and Centrifugo speak it; and its connection tokens."""

from __future__ import annotations

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from perf.load import failures, frames
from perf.load.dialects import Dialect, Opening, Refused, Step
from proto.replies import Reply

CONNECT_ID, SUBSCRIBE_ID, PUBLISH_ID = 1, 2, 3
PATH = "/connection/websocket"
TOKEN_LIFETIME_S = 24 * 3600

_decode = msgspec.json.Decoder(Reply).decode


def connection_token(user: str, secret: str, expires_at: int) -> str:
    """An HS256 JWT for `user`, valid until `expires_at` (Unix seconds).

    Made in three lines of hmac, because a run mints thousands before it starts: PyJWT takes several times as long.
    """
    signed = _TOKEN_HEAD + b"." + _token_part(msgspec.json.encode({"sub": user, "exp": expires_at}))
    return (signed + b"." + _token_part(hmac.digest(secret.encode(), signed, "sha256"))).decode()


def _token_part(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


_TOKEN_HEAD = _token_part(b'{"alg":"HS256","typ":"JWT"}')


@dataclass(frozen=True, slots=True)
class Centrifuge(Dialect):
    """`user` may hold {i}. Without a secret clients connect without a token."""

    path: str = PATH
    user: str = "perf-{i}"
    token_secret: str = ""

    ping: ClassVar[bytes] = b"{}"
    pong: ClassVar[bytes] = frames.frame(frames.TEXT, b"{}")

    def opening(self, index: int) -> Opening:
        """Sends connect and subscribe together, as centrifuge-js does."""
        return self._opening(index, {})

    def reconnect_opening(self, index: int, reply: bytes, last: bytes) -> Opening:
        subscribed = _decode(reply).subscribe
        assert subscribed is not None
        _, found, digits = last.rpartition(b'"offset":')
        offset = int(digits.partition(b"}")[0].partition(b",")[0]) if found else subscribed.offset
        return self._opening(index, {"recover": True, "epoch": subscribed.epoch, "offset": offset})

    def recovered(self, reply: bytes) -> bool:
        subscribed = _decode(reply).subscribe
        return subscribed is not None and subscribed.recovered

    def _opening(self, index: int, position: dict[str, object]) -> Opening:
        request = {"name": "perf"}
        if self.token_secret:
            user = self.user.replace("{i}", str(index))
            request["token"] = connection_token(user, self.token_secret, int(time.time()) + TOKEN_LIFETIME_S)
        commands: list[object] = [{"id": CONNECT_ID, "connect": request}]
        if self.channel:
            commands.append({"id": SUBSCRIBE_ID, "subscribe": {"channel": self.channel_of(index), **position}})
        hello = frames.frame(frames.TEXT, b"\n".join(msgspec.json.encode(command) for command in commands))
        return Opening(self.path, (Step("connect", hello), Step("subscribe", b""))[: len(commands)])

    def accepts(self, step: int, message: bytes) -> bool:
        try:
            reply = _decode(message)
        except msgspec.DecodeError as error:
            raise frames.BadFrame(str(error)[:80]) from None
        if reply.id != (CONNECT_ID, SUBSCRIBE_ID)[step]:
            return False  # a push
        if reply.error is not None:
            raise Refused(failures.of_reply(reply.error.code, reply.error.message))
        if (reply.connect, reply.subscribe)[step] is None:
            raise frames.BadFrame("a reply without its result")
        return True

    def split(self, data: bytes) -> tuple[Sequence[bytes], bytes]:
        return (data.split(b"\n") if b"\n" in data else (data,)), b""

    def publication(self, channel: str, payload: bytes) -> bytes:
        command = {"id": PUBLISH_ID, "publish": {"channel": channel, "data": msgspec.Raw(payload)}}
        return frames.frame(frames.TEXT, msgspec.json.encode(command))
