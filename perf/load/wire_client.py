"""One client on the wire: TCP, WebSocket upgrade, the steps of its dialect, and then it listens.

A plain `asyncio.Protocol` with slots. It has no task and no timer of its own, and its frames are built beforehand. It
calls its owner when something happens; the owner of thousands of clients waits for all of them at once.
"""

from __future__ import annotations

import asyncio
import enum
import time
from typing import Protocol, cast

from perf.load import failures, frames
from perf.load.delivery_counter import DeliveryCounter
from perf.load.dialects import Dialect, Opening, Refused


class Stage(enum.IntEnum):
    TCP = 0
    UPGRADE = 1
    OPENING = 2
    HELD = 3
    LEAVING = 4
    ENDED = 5


class Owner(Protocol):
    """Called exactly once with `established` or `failed` for each client; at most once with `lost` after `established`.

    `closed` comes last, if a socket was made at all.
    """

    def established(self, client: WireClient) -> None: ...
    def failed(self, client: WireClient, cause: str) -> None: ...
    def lost(self, client: WireClient, cause: str) -> None: ...
    def closed(self, client: WireClient) -> None: ...


class WireClient(asyncio.Protocol):
    """`request` is the HTTP upgrade. Times are of `time.monotonic`, seconds.

    `due` is when the connection should have been started, `started` when it was. `reply` ended the opening, and `last`
    is the end of the bytes that held the newest application message: a reconnect needs both, which are kept only if the
    counter follows the order. `reconnects`: this client is a reconnect.
    """

    __slots__ = (
        "_buffer",
        "_counter",
        "_dialect",
        "_opening",
        "_owner",
        "_request",
        "_rest",
        "_step",
        "_transport",
        "due",
        "established_at",
        "index",
        "last",
        "next_number",
        "reconnects",
        "reply",
        "stage",
        "started",
        "tcp_at",
        "upgraded_at",
    )

    def __init__(
        self,
        owner: Owner,
        counter: DeliveryCounter,
        dialect: Dialect,
        index: int,
        request: bytes,
        opening: Opening,
        due: float,
    ) -> None:
        self._owner = owner
        self._counter = counter
        self._dialect = dialect
        self._request = request
        self._opening = opening.steps
        self._step = 0
        self._buffer = self._rest = b""  # an incomplete frame, and an incomplete message of a dialect that cuts them
        self._transport: asyncio.Transport | None = None
        self.index = index
        self.next_number = 0
        self.reply = self.last = b""
        self.reconnects = False
        self.stage = Stage.TCP
        self.due = due
        self.started = time.monotonic()
        self.tcp_at = self.upgraded_at = self.established_at = 0.0

    # --- called by the owner --------------------------------------------------------------------------------------

    @property
    def waits_for(self) -> str:
        """What the next answer of the server is about: the word by which timeouts and losses are counted."""
        if self.stage is Stage.OPENING:
            return self._opening[self._step].name
        return self.stage.name.lower()

    def fail(self, cause: str) -> None:
        """Gives up the client, established or not. Does nothing if it has already ended."""
        self._end(cause)
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Sends a close frame, after which the server closes the socket. A client that does not read just aborts."""
        if self.stage is Stage.HELD and self._transport is not None:
            self.stage = Stage.LEAVING
            leaving = self._dialect.leave_frame()
            if leaving and self._transport.is_reading():
                self._transport.write(leaving)
            else:
                self._transport.abort()

    def send(self, frame: bytes) -> None:
        """Sends a frame of the application if the client is connected."""
        if self.stage is Stage.HELD and self._transport is not None:
            self._transport.write(frame)

    def stop_reading(self) -> None:
        """Stops reading: the server's data stays in the kernel's buffers, and then at the server."""
        if self.stage is Stage.HELD and self._transport is not None:
            self._transport.pause_reading()

    # --- called by the loop ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not one by class, only by behaviour
        if self.stage is not Stage.TCP:  # it was given up while the connect was in progress
            self._transport.abort()
            return
        self.tcp_at = time.monotonic()
        self.stage = Stage.UPGRADE
        if self._request:
            self._transport.write(self._request)
        else:
            self.upgraded_at = self.tcp_at
            self._begin_step()

    def data_received(self, data: bytes) -> None:
        if self.stage is Stage.HELD and not self._buffer and self._counter.count_like_last(self, data):
            return
        if self.stage is Stage.ENDED:
            return
        if self._buffer:
            data = self._buffer + data
        try:
            if self.stage is Stage.UPGRADE:
                head, separator, rest = data.partition(b"\r\n\r\n")
                if not separator:
                    if len(data) > frames.MAX_HEAD_BYTES:
                        raise frames.BadFrame(f"a response head of over {frames.MAX_HEAD_BYTES} bytes")
                    self._buffer = data
                    return
                self._buffer = b""
                if not self._upgraded(head):
                    return
                data = rest
            found, self._buffer = frames.take_frames(data)
            for opcode, payload in found:
                self._frame(opcode, payload)
        except frames.BadFrame as error:
            self.fail(failures.of_garbage(str(error)))
        except Refused as refused:
            self.fail(str(refused))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(failures.of_end(exc, self.waits_for))
        self._transport = None
        self._owner.closed(self)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _upgraded(self, head: bytes) -> bool:
        status = frames.upgrade_status(head)
        if status != 101:
            self.fail(failures.of_http(status))
            return False
        self.upgraded_at = time.monotonic()
        self.stage = Stage.OPENING
        self._request = b""
        self._begin_step()
        return True

    def _begin_step(self) -> None:
        if self._step == len(self._opening):
            self.established_at = time.monotonic()
            self.stage = Stage.HELD
            self._opening = ()
            self._owner.established(self)
        elif (send := self._opening[self._step].send) and self._transport is not None:
            self._transport.write(send)

    def _frame(self, opcode: int, payload: bytes) -> None:
        if self.stage is Stage.ENDED or self._transport is None:
            return
        if opcode == self._dialect.opcode:
            self._payload(payload)
        elif opcode == frames.CLOSE:
            code, reason = frames.close_status(payload)
            if self.stage is not Stage.LEAVING:
                self._transport.write(frames.frame(frames.CLOSE, payload[:2]))
            self._end(failures.of_close(code, reason))
            self._transport.close()
        elif opcode == frames.PING:
            self._counter.deliveries.pings += 1
            self._transport.write(frames.frame(frames.PONG, payload))
        elif opcode in (frames.TEXT, frames.BINARY):
            raise frames.BadFrame("a text frame where binary was expected, or a binary one where text was")

    def _payload(self, payload: bytes) -> None:
        dialect = self._dialect
        may_ping = bool(dialect.ping) and dialect.ping in payload
        if self.stage is Stage.HELD and not may_ping and not dialect.cuts_messages:
            self._counter.count(self, payload, frames.wire_size(len(payload)))
            return
        messages, self._rest = dialect.split(self._rest + payload)
        for message in messages:
            self._message(message)

    def _message(self, message: bytes) -> None:
        if message == self._dialect.ping:
            self._pong()
            return
        self._counter.count(self, message)
        if self.stage is Stage.OPENING and self._dialect.accepts(self._step, message):
            self._step += 1
            if self._counter.ordered and self._step == len(self._opening):  # a failed reconnect keeps the previous one
                self.reply = message
            self._begin_step()

    def _pong(self) -> None:
        self._counter.deliveries.pings += 1
        if self._transport is not None:
            self._transport.write(self._dialect.pong)

    def _end(self, cause: str) -> None:
        was, self.stage = self.stage, Stage.ENDED
        self._buffer = self._rest = b""
        if was is Stage.HELD:
            self._owner.lost(self, cause)
        elif was < Stage.HELD:
            self._owner.failed(self, cause)
