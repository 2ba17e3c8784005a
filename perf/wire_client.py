"""One client on the wire: TCP, WebSocket upgrade, connect command, subscribe command, and then it holds.

A plain `asyncio.Protocol` with slots: no task and no timer of its own, its frames are built beforehand. It tells its
owner what became of it and when; whoever owns thousands of them does the waiting for all at once.
"""

from __future__ import annotations

import asyncio
import enum
import time
from typing import Protocol, cast

import msgspec

from perf import failures, frames
from proto.messages import Reply

CONNECT_ID, SUBSCRIBE_ID = 1, 2

_decode = msgspec.json.Decoder(Reply).decode
_PING = b"{}"
_ANSWER = frames.frame(frames.TEXT, b"{}")


class Stage(enum.IntEnum):
    TCP = 0
    UPGRADE = 1
    CONNECT = 2
    SUBSCRIBE = 3
    HELD = 4
    LEAVING = 5
    ENDED = 6


class Owner(Protocol):
    """Hears of each client exactly once `established` or `failed`; of an established one at most once `lost`.

    `gone` comes last, when a socket was made at all: it is closed.
    """

    def established(self, client: WireClient) -> None: ...
    def failed(self, client: WireClient, cause: str) -> None: ...
    def lost(self, client: WireClient, cause: str) -> None: ...
    def gone(self, client: WireClient) -> None: ...


class WireClient(asyncio.Protocol):
    """`request` is the HTTP upgrade, `hello` the frame with the commands. Times are of `time.monotonic`, seconds.

    `due` is when the connection should have been started, `started` when it was. `messages` counts what came after the
    last reply that was waited for, server pings left out.
    """

    __slots__ = (
        "_buffer",
        "_hello",
        "_owner",
        "_pong",
        "_request",
        "_subscribes",
        "_transport",
        "due",
        "established_at",
        "messages",
        "stage",
        "started",
        "tcp_at",
        "upgraded_at",
    )

    def __init__(self, owner: Owner, request: bytes, hello: bytes, subscribes: bool, due: float) -> None:
        self._owner = owner
        self._request = request
        self._hello = hello
        self._subscribes = subscribes
        self._buffer = b""
        self._pong = False
        self._transport: asyncio.Transport | None = None
        self.stage = Stage.TCP
        self.messages = 0
        self.due = due
        self.started = time.monotonic()
        self.tcp_at = self.upgraded_at = self.established_at = 0.0

    # --- what the owner does with it ------------------------------------------------------------------------------

    def fail(self, cause: str) -> None:
        """Gives up, before it was established or after. Does nothing when it has ended already."""
        self._end(cause)
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Says goodbye with 1000; the server closes the socket."""
        if self.stage is Stage.HELD and self._transport is not None:
            self.stage = Stage.LEAVING
            self._transport.write(frames.close_frame(1000))

    # --- what the loop does with it -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class, only by what it does
        if self.stage is not Stage.TCP:  # it was given up meanwhile
            self._transport.abort()
            return
        self.tcp_at = time.monotonic()
        self.stage = Stage.UPGRADE
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.stage is Stage.ENDED:
            return
        if self._buffer:
            data = self._buffer + data
        try:
            if self.stage is Stage.UPGRADE:
                head, separator, rest = data.partition(b"\r\n\r\n")
                if not separator:
                    if len(data) > frames.MAX_HEAD_BYTES:
                        raise frames.BadFrame("an endless response head")
                    self._buffer = data
                    return
                if not self._upgraded(head):
                    return
                data = rest
            found, self._buffer = frames.take_frames(data)
            for opcode, payload in found:
                self._frame(opcode, payload)
        except (frames.BadFrame, msgspec.DecodeError) as error:
            self.fail(failures.of_garbage(str(error)[:80]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(failures.of_end(exc, self.stage.name.lower()))
        self._transport = None
        self._owner.gone(self)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _upgraded(self, head: bytes) -> bool:
        status = frames.upgrade_status(head)
        if status != 101:
            self.fail(failures.of_http(status))
            return False
        assert self._transport is not None
        self.upgraded_at = time.monotonic()
        self.stage = Stage.CONNECT
        self._transport.write(self._hello)
        self._request = self._hello = b""
        return True

    def _frame(self, opcode: int, payload: bytes) -> None:
        if self.stage is Stage.ENDED or self._transport is None:
            return
        if opcode == frames.TEXT:
            for message in payload.split(b"\n") if b"\n" in payload else (payload,):
                self._message(message)
        elif opcode == frames.CLOSE:
            code, reason = frames.close_status(payload)
            if self.stage is not Stage.LEAVING:
                self._transport.write(frames.frame(frames.CLOSE, payload[:2]))
            self._end(failures.of_close(code, reason))
            self._transport.close()
        elif opcode == frames.PING:
            self._transport.write(frames.frame(frames.PONG, payload))
        elif opcode == frames.BINARY:
            raise frames.BadFrame("a binary frame on a JSON connection")

    def _message(self, message: bytes) -> None:
        if message == _PING:
            if self._pong and self._transport is not None:
                self._transport.write(_ANSWER)
        elif self.stage is Stage.HELD:
            self.messages += 1
        elif self.stage in (Stage.CONNECT, Stage.SUBSCRIBE):
            self._reply(_decode(message))

    def _reply(self, reply: Reply) -> None:
        if reply.id != (CONNECT_ID if self.stage is Stage.CONNECT else SUBSCRIBE_ID):
            return  # a push
        if reply.error is not None:
            self.fail(failures.of_reply(reply.error.code, reply.error.message))
        elif self.stage is Stage.CONNECT:
            if reply.connect is None:
                raise frames.BadFrame("a connect reply without a result")
            self._pong = reply.connect.pong
            self.stage = Stage.SUBSCRIBE
            if not self._subscribes:
                self._established()
        elif reply.subscribe is None:
            raise frames.BadFrame("a subscribe reply without a result")
        else:
            self._established()

    def _established(self) -> None:
        self.established_at = time.monotonic()
        self.stage = Stage.HELD
        self._owner.established(self)

    def _end(self, cause: str) -> None:
        was, self.stage = self.stage, Stage.ENDED
        self._buffer = b""
        if was is Stage.HELD:
            self._owner.lost(self, cause)
        elif was < Stage.HELD:
            self._owner.failed(self, cause)
