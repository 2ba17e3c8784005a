"""nats-py's client, changed where it does not fit a service. Only `link` uses it.

This is the only module that uses undocumented names of nats-py. `tests/chassis/nats/test_client.py` lists them all, so
that a version of nats-py without one of them fails there first (decision 12).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import ssl
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import Error
from nats.protocol import command
from nats.protocol.parser import Parser

from services.chassis.nats.credential_files import BadFile
from services.chassis.nats.errors import NatsAway, NatsRefused
from services.chassis.nats.reader import Handler, Listener, MessageReader
from services.chassis.nats.sign_in import SignIn

log = logging.getLogger(__name__)

MAX_PENDING_BYTES: Final = 16 * 1024 * 1024
"""How much may wait for the socket. If more than half of it waits, NATS does not keep up, and publishing fails until it
does."""

MAX_SUBJECT_BYTES: Final = 3900
"""NATS disconnects a client that sends a line of more than 4,096 bytes; the line also holds reply subject and sizes."""

_CLOSE_TIMEOUT_S: Final = 2.0

REFUSED_WAIT_S: Final = 1.0
"""How long the link waits before it tries again after a server refused it: each try is a line in the server's log."""
_FAILED_WAIT_S: Final = 1.0

_REFUSED: Final = re.compile(r"^nats: .*(authorization|authentication)", re.IGNORECASE)
"""How nats-py words the errors of nats-server for a client that may not connect, or not any longer: `Authorization
Violation`, `User Authentication Expired`, `Account Authentication Expired`, `Authentication Timeout`, ..."""


class ServerComplains(Exception):
    """An error (`-ERR`) that a server sent on an open connection."""


class SignInRefused(Error):
    """A server does not accept the credentials. Another try may succeed, once somebody has changed the credentials or
    the server's configuration."""


class _LinkParser(Parser):
    """Our reader in place of nats-py's parser, to which it leaves what it does not handle."""

    def __init__(self, client: ListeningClient, listeners: dict[bytes, Listener]) -> None:
        self._reader = MessageReader(listeners)
        self._client = client
        super().__init__(client)

    def reset(self) -> None:
        self._reader.reset()
        super().reset()

    async def parse(self, data: bytes = b"") -> None:
        for piece in self._reader.feed(data):
            if piece.startswith(b"-ERR"):
                await self._client.report(_plain(piece.decode(errors="replace")))
            else:
                await super().parse(piece)


def _plain(complaint: str) -> str:
    return complaint.removeprefix("-ERR").removeprefix("nats: ").strip().strip("'")


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancels a task of nats-py, repeatedly until it is done.

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

    def __init__(self, sign_in: SignIn) -> None:
        super().__init__()
        self._sign_in = sign_in
        self._listeners: dict[bytes, Listener] = {}
        self._ps = _LinkParser(self, self._listeners)

    @property
    def server_id(self) -> str:
        """The id of the server that this client is, or was last, connected to. A server has a new id after each
        start."""
        return str(self._server_info.get("server_id", ""))

    @property
    def in_cluster(self) -> bool:
        """Whether that server belongs to a cluster."""
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

    def listen_again(self, among: list[str] | None = None) -> None:
        """Subscribes again to the subjects `among`, or to all: NATS ignores a subscription whose number it already
        has."""
        if not self.is_connected:
            return
        starts = None if among is None else tuple(f"SUB {subject} ".encode() for subject in among)
        commands = [one.command for one in self._listeners.values() if starts is None or one.command.startswith(starts)]
        if commands:
            self._send(b"".join(commands))

    def remove_listener(self, number: int) -> None:
        """Unsubscribes; the handler is not called again."""
        if self._listeners.pop(b"%d" % number, None) is not None and self.is_connected:
            self._send(command.unsub_cmd(number, 0))

    def stop_messages(self, number: int) -> bool:
        """Unsubscribes, but still calls the handler for messages that are on their way. Returns False if there can be
        none."""
        listener = self._listeners.get(b"%d" % number)
        if listener is None or not self.is_connected:
            return False
        listener.command = b""  # so that a reconnect does not subscribe again
        self._send(command.unsub_cmd(number, 0))
        return True

    def forget_listener(self, number: int) -> None:
        """The handler is not called again. For a subscription that has ended at the server."""
        self._listeners.pop(b"%d" % number, None)

    def drop_pending(self) -> None:
        """Drops what waits for the socket. nats-py would send it after the reconnect, however late that is.

        The sender has got an error, or was promised nothing: an old message must not arrive after the sender's own
        retry, or after what others have sent since. All subscriptions are made again anyway, and one that has ended
        meanwhile must not be.
        """
        self._pending, self._pending_data_size = [], 0

    # --- signing in --------------------------------------------------------------------------------------------------

    def _connect_command(self) -> bytes:
        """nats-py's CONNECT with our credentials: from the files as they are now, and for any server of the cluster."""
        verb, _, options = super()._connect_command().partition(b" ")
        try:
            signed = self._sign_in.fields(str(self._server_info.get("nonce", "")))
        except BadFile as error:
            raise Error(str(error)) from None
        return verb + b" " + json.dumps(json.loads(options) | signed).encode() + b"\r\n"

    @property
    def ssl_context(self) -> ssl.SSLContext:
        try:
            return self._sign_in.tls_context()
        except BadFile as error:
            raise Error(str(error)) from None

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Starts TLS if our settings want it. nats-py would send its password in clear text to a server that does not
        require TLS."""
        if initial_connection and self._sign_in.wants_tls and not info.get("tls_required"):
            if not info.get("tls_available"):
                raise Error("it does not offer TLS, which nats.url (tls://) or nats.ca_file or nats.cert_file asks for")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

    async def _process_connect_init(self) -> None:
        """nats-py's handshake, at the start and after each disconnect, and then all our subscriptions in one write.

        nats-py makes its own subscriptions again with one write each, and does not know ours. It gives up for good
        after an error that it does not expect, so every error is turned into one that it expects.
        """
        try:
            await self._shake_hands()
        except BaseException:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]  # nats-py forgets it while it reconnects
            raise
        # No await in between: whatever is sent on the new connection is sent after this.
        assert self._transport is not None
        self._transport.write(b"".join([listener.command for listener in self._listeners.values()]))

    async def _shake_hands(self) -> None:
        try:
            await super()._process_connect_init()
        except (OSError, TimeoutError):
            raise
        except Error as error:
            if _REFUSED.search(str(error)):
                await asyncio.sleep(REFUSED_WAIT_S)
                raise SignInRefused(_plain(str(error))) from None
            raise
        except Exception as error:
            raise Error(f"it does not answer as NATS does ({type(error).__name__})") from None
        if not self.is_connected:  # the server closed it, or sent something else first; nats-py does not notice
            for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
                if task is not None:
                    task.cancel()
            raise Error("the server ended the connection")

    async def _attempt_reconnect(self) -> None:
        """Reconnects as nats-py does, but does not end before there is a connection, whatever happens."""
        while True:
            try:
                return await super()._attempt_reconnect()
            except Exception:
                log.exception("reconnecting to NATS failed, trying again")
                await asyncio.sleep(_FAILED_WAIT_S)

    async def report(self, complaint: str) -> None:
        """Handles an error that a server has sent.

        nats-py would close the connection for good, even after an error that leaves the connection usable, and after a
        change of the password. A server that does not continue closes the connection itself, and the link reconnects.
        """
        await self._error_cb(ServerComplains(complaint))

    async def close(self) -> None:
        """Ends the connection for good, within `_CLOSE_TIMEOUT_S`, and any reconnect in progress."""
        if not self.is_connected:  # nats-py would write pending messages to the dead socket
            self.drop_pending()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                try:
                    await super().close()
                except asyncio.CancelledError:
                    # A reconnect that has just begun, and that this call ends, waits for the same socket to close:
                    # asyncio cancels that wait for both.
                    if (closing := asyncio.current_task()) is None or closing.cancelling():
                        raise
        reconnecting = self._reconnection_task
        if reconnecting is not None and reconnecting is not asyncio.current_task():
            await end_task(reconnecting)
