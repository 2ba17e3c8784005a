"""nats-py's client, changed where it does not fit a service. Only `link` uses it.

This is the only module that uses names of nats-py which are not documented. `tests/chassis/nats/test_client.py` lists
them all, so that a version of nats-py without one of them fails there first (decision 12).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from nats.aio.client import Client
from nats.protocol import command
from nats.protocol.parser import Parser

from services.chassis.nats.errors import NatsAway, NatsRefused
from services.chassis.nats.reader import Handler, Listener, MessageReader

MAX_PENDING_BYTES: Final = 16 * 1024 * 1024
"""How much may wait for the socket. From half of it on NATS does not keep up, and publishing fails until it does."""

MAX_SUBJECT_BYTES: Final = 3900
"""NATS disconnects a client that sends a line of more than 4,096 bytes; the line also holds reply subject and sizes."""

_CLOSE_TIMEOUT_S: Final = 2.0


class _LinkParser(Parser):
    """Our reader in the place of nats-py's parser, which gets what the reader does not handle."""

    def __init__(self, client: Client, listeners: dict[bytes, Listener]) -> None:
        self._reader = MessageReader(listeners)
        super().__init__(client)

    def reset(self) -> None:
        self._reader.reset()
        super().reset()

    async def parse(self, data: bytes = b"") -> None:
        for piece in self._reader.feed(data):
            await super().parse(piece)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancels a task of nats-py until it is done.

    nats-py retries after any failure, and loses a cancellation that coincides with a failing connect
    (`asyncio.wait_for` of Python 3.11 drops it): without this, a process would not stop while NATS is unreachable.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
    if not task.cancelled():
        task.exception()  # retrieved here, as nothing awaits the task any more


class ListeningClient(Client):
    """A `Client` that sends without awaiting and hands the messages of our subscriptions to plain functions.

    nats-py's own subscriptions and requests still work; its calls for managing streams use them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._listeners: dict[bytes, Listener] = {}
        self._ps = _LinkParser(self, self._listeners)

    @property
    def server_id(self) -> str:
        """The id of the server that this is, or was last, connected to: another one for each start of a server."""
        return str(self._server_info.get("server_id", ""))

    @property
    def in_cluster(self) -> bool:
        """Whether that server is one of several."""
        return bool(self._server_info.get("cluster"))

    def send_message(self, subject: str, data: bytes, headers: bytes | None = None, reply: str = "") -> None:
        """Queues a message for the socket. Raises `NatsAway` and `NatsRefused`, as `NatsLink.publish` says."""
        if self._status != Client.CONNECTED:
            raise NatsAway("not connected")
        if self._pending_data_size > MAX_PENDING_BYTES // 2:
            raise NatsAway("NATS does not keep up", "busy")
        if len(subject) > MAX_SUBJECT_BYTES:
            raise NatsRefused(f"a subject of {len(subject)} bytes is too long for NATS", "too_large")
        if len(data) + len(headers or b"") > self._max_payload:
            why = f"a message of {len(data)} bytes is too large for NATS (at most {self._max_payload})"
            raise NatsRefused(why, "too_large")
        if headers is None:
            self._send(command.pub_cmd(subject, reply, data))
        else:
            self._send(command.hpub_cmd(subject, reply, headers, data))

    def _send(self, wire: bytes) -> None:
        self._pending.append(wire)
        self._pending_data_size += len(wire)
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    def add_listener(self, subject: str, handler: Handler, queue: str) -> int:
        """Subscribes now, and again after each reconnect. Returns the subscription's number."""
        self._sid += 1
        number: int = self._sid
        listener = Listener(handler, command.sub_cmd(subject, queue, number))
        self._listeners[b"%d" % number] = listener
        if self.is_connected:
            self._send(listener.command)
        return number

    def remove_listener(self, number: int) -> None:
        """Unsubscribes; the handler is not called again."""
        if self._listeners.pop(b"%d" % number, None) is not None and self.is_connected:
            self._send(command.unsub_cmd(number, 0))

    def stop_messages(self, number: int) -> bool:
        """Unsubscribes, but still calls the handler for messages on their way. False if there can be none."""
        listener = self._listeners.get(b"%d" % number)
        if listener is None or not self.is_connected:
            return False
        listener.command = b""  # so that it is not made again after a reconnect
        self._send(command.unsub_cmd(number, 0))
        return True

    def forget_listener(self, number: int) -> None:
        """The handler is not called again. For a subscription that has ended at the server."""
        self._listeners.pop(b"%d" % number, None)

    def drop_pending(self) -> None:
        """Drops what waits for the socket, which nats-py would send after the reconnect, however late that is.

        Who sent it has an error, or was promised nothing: its own repetition, or what others have sent since, must not
        be followed by this. All subscriptions are made again anyway, and one that has ended meanwhile must not be.
        """
        self._pending, self._pending_data_size = [], 0

    async def _process_connect_init(self) -> None:
        """nats-py's handshake, at the start and after each disconnect, and then all our subscriptions in one write.

        nats-py makes its own subscriptions again by one write each, and does not know ours.
        """
        await super()._process_connect_init()
        # No await in between: whatever is sent on the new connection is sent after this.
        assert self._transport is not None
        self._transport.write(b"".join([listener.command for listener in self._listeners.values()]))

    async def close(self) -> None:
        """Ends the connection for good, within `_CLOSE_TIMEOUT_S`, and any reconnect in progress."""
        if not self.is_connected:  # nats-py would write pending messages to the dead socket
            self.drop_pending()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await super().close()
        reconnecting = self._reconnection_task
        if reconnecting is not None and reconnecting is not asyncio.current_task():
            await end_task(reconnecting)
