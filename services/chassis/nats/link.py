"""One connection of a process to NATS, with the habits of a service instead of a script.

It is nats-py's `Client`, changed where its defaults do not fit: it never gives up reconnecting, notices a hung server
within seconds, fails what is in flight at once when the connection drops (instead of at its timeout), hands messages to
plain functions without a task and a queue for each subscription, and answers all requests through one inbox.

A message handler gets `(subject, reply, headers, data)` as the bytes of the wire, `headers` None when there are none,
and must not block. Handlers run in the order in which the server sent the messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.protocol import command
from nats.protocol.parser import Parser

from services.chassis.nats.errors import NatsAway as NatsAway
from services.chassis.nats.errors import NatsRefused as NatsRefused
from services.chassis.nats.errors import NobodyAnswers as NobodyAnswers
from services.chassis.nats.headers import header as header
from services.chassis.nats.headers import header_block as header_block
from services.chassis.nats.headers import status as status
from services.chassis.nats.inbox import Answer, Inbox, IsLast
from services.chassis.nats.reader import Handler, Listener, MessageReader
from services.chassis.process.settings import NatsSettings

log = logging.getLogger(__name__)

RECONNECT_WAIT_S = 0.1
PING_INTERVAL_S = 3
MAX_PENDING_BYTES = 16 * 1024 * 1024
"""What may wait for the socket. More means that NATS does not keep up, and publishing fails until it does."""

MAX_SUBJECT_BYTES = 3900
"""NATS cuts off who sends a line of more than 4,096, which also holds the reply's subject or the sizes."""

_CLOSE_TIMEOUT_S = 2.0
_COMPLAIN_S = 10.0
"""How often the log says that NATS is still not there; a try is made ten times a second."""


class _LinkParser(Parser):
    """Our reader in the place of nats-py's parser, which gets what the reader leaves over."""

    def __init__(self, client: Client, listeners: dict[bytes, Listener]) -> None:
        self._reader = MessageReader(listeners)
        super().__init__(client)

    def reset(self) -> None:
        self._reader.reset()
        super().reset()

    async def parse(self, data: bytes = b"") -> None:
        for piece in self._reader.feed(data):
            await super().parse(piece)


def _without_credentials(urls: str) -> str:
    parts = [urlsplit(url.strip()) for url in urls.split(",")]
    return ", ".join(part.netloc.rpartition("@")[2] or part.path for part in parts)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancels a task of nats-py until it is done.

    nats-py tries again after any failure, and a cancellation that meets a failing connect is lost in it (`wait_for` of
    Python 3.11 drops it): a process that is told to stop while NATS is away would not stop.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
    if not task.cancelled():
        task.exception()  # looked at: nobody waits for it any more


async def _until_done_or_cancelled(work: Coroutine[Any, Any, None]) -> None:
    """Awaits `work`, and sees to it that it ends when we are cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await _ended(task)
        raise


class NatsLink(Client):
    """See the module. `on_connected` runs after every (re)connection, once the subscriptions stand again.

    `on_lost` runs when the connection drops. Both are plain functions.
    """

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        on_connected: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._name = name
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._listeners: dict[bytes, Listener] = {}
        self._ps = _LinkParser(self, self._listeners)
        self._inbox = Inbox(self.new_inbox(), self.publish_now)
        self._ending = False
        self._address = _without_credentials(settings.url)
        self._complain_at = 0.0

    async def open(self) -> None:
        """Connects, waiting for NATS as long as it takes. Raises `NatsRefused` for credentials that it refuses."""
        options: dict[str, Any] = {}
        if self._settings.credentials_file:
            options["user_credentials"] = self._settings.credentials_file
        log.info("connecting to NATS at %s", self._address)
        connecting = self.connect(
            [url.strip() for url in self._settings.url.split(",")],
            name=self._name,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # annotated int, slept as given
            max_reconnect_attempts=-1,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            pending_size=MAX_PENDING_BYTES,
            error_cb=self._log_error,
            disconnected_cb=self._lost,
            reconnected_cb=self._found,
            skip_subject_validation=True,  # proto.subjects builds them
            **options,
        )
        await _until_done_or_cancelled(connecting)
        self.listen(self._inbox.pattern, self._inbox.collect)
        log.info("connected to NATS")
        self._on_connected()

    # --- sending: no await, so that a decision and its message are one step ------------------------------------------

    def publish_now(self, subject: str, data: bytes, headers: bytes | None = None, reply: str = "") -> None:
        """Hands a message to the connection. Raises `NatsAway` when there is none or it does not keep up."""
        if not self.is_connected:
            raise NatsAway("not connected")
        if self._pending_data_size > MAX_PENDING_BYTES // 2:
            raise NatsAway("NATS does not keep up")
        if len(subject) > MAX_SUBJECT_BYTES:
            raise NatsRefused(f"a subject of {len(subject)} bytes is longer than NATS takes")
        if len(data) + len(headers or b"") > self.max_payload:
            raise NatsRefused(f"{len(data)} bytes are more than NATS takes ({self.max_payload})")
        if headers is None:
            self._send(command.pub_cmd(subject, reply, data))
        else:
            self._send(command.hpub_cmd(subject, reply, headers, data))

    def _send(self, wire: bytes) -> None:
        self._pending.append(wire)
        self._pending_data_size += len(wire)
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    async def ask(self, subject: str, data: bytes, headers: bytes | None = None, timeout_s: float = 5.0) -> Answer:
        """One request, one reply `(headers, data)`. Raises `NatsAway`, also when nobody answers in time."""
        return await self._inbox.ask(subject, data, headers, timeout_s)

    async def ask_many(
        self, subject: str, data: bytes, is_last: IsLast, headers: bytes | None = None, timeout_s: float = 5.0
    ) -> list[Answer]:
        """One request and all its replies, up to the first whose headers satisfy `is_last`.

        Raises `NatsAway`, and of that `NobodyAnswers` when nobody listens there.
        """
        return await self._inbox.ask_many(subject, data, is_last, headers, timeout_s)

    async def settle(self, timeout_s: float = 5.0) -> None:
        """Returns when the server has done all that was asked of it before. Raises `NatsAway`.

        nats-py's `flush` sends its ping ahead of what is still pending, so it cannot say that.
        """
        await self._inbox.echo(timeout_s)

    # --- receiving ---------------------------------------------------------------------------------------------------

    def listen(self, subject: str, handler: Handler, queue: str = "") -> int:
        """Subscribes; a request sent afterwards on this link reaches the server later. Survives reconnects.

        Returns the number by which `unlisten` ends it.
        """
        self._sid += 1
        number: int = self._sid
        listener = Listener(handler, command.sub_cmd(subject, queue, number))
        self._listeners[b"%d" % number] = listener
        if self.is_connected:
            self._send(listener.command)
        return number

    def unlisten(self, number: int) -> None:
        """Ends a subscription; its handler is not called again."""
        if self._listeners.pop(b"%d" % number, None) is not None and self.is_connected:
            self._send(command.unsub_cmd(number, 0))

    async def retire(self, number: int, timeout_s: float = 5.0) -> None:
        """Ends a subscription in good order: its handler still gets what the server has sent by then."""
        listener = self._listeners.get(b"%d" % number)
        try:
            if listener is not None and self.is_connected:
                listener.command = b""  # not made anew after a reconnect
                self._send(command.unsub_cmd(number, 0))
                with contextlib.suppress(NatsAway):
                    await self.settle(timeout_s)
        finally:
            self._listeners.pop(b"%d" % number, None)

    async def _process_connect_init(self) -> None:
        """nats-py's handshake, at the start and after every loss of the connection.

        nats-py would subscribe anew with a write of each subscription's own, and knows nothing of ours.
        """
        await super()._process_connect_init()
        # No await in between: whatever is sent on the new connection is sent after this.
        assert self._transport is not None
        self._transport.write(b"".join([listener.command for listener in self._listeners.values()]))

    # --- coming and going --------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Ends the connection for good."""
        self._ending = True
        if not self.is_connected:  # nats-py would write what is pending to the dead socket
            self._pending, self._pending_data_size = [], 0
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await super().close()
        reconnecting = self._reconnection_task
        if reconnecting is not None and reconnecting is not asyncio.current_task():
            await _ended(reconnecting)

    async def _lost(self) -> None:
        if self._ending:
            return
        log.warning("lost the connection to NATS, reconnecting")
        self._inbox.fail_all(NatsAway("the connection dropped"))
        # All subscriptions are made anew: one that was not sent yet, and ended since, must not be among them.
        self._pending = [wire for wire in self._pending if not wire.startswith((b"SUB ", b"UNSUB "))]
        self._pending_data_size = sum(map(len, self._pending))
        self._on_lost()

    async def _found(self) -> None:
        log.info("connected to NATS again")
        self._on_connected()

    async def _log_error(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if self.is_connected or now < self._complain_at:
            log.debug("NATS: %s: %s", type(error).__name__, error)
            return
        self._complain_at = now + _COMPLAIN_S
        log.warning("waiting for NATS at %s: %s", self._address, str(error) or type(error).__name__)
