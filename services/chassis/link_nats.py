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
import itertools
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.protocol import command

from services.chassis.settings import NatsSettings

log = logging.getLogger(__name__)

Handler = Callable[[bytes, bytes, bytes | None, bytes], None]

RECONNECT_WAIT_S = 0.1
PING_INTERVAL_S = 3
MAX_PENDING_BYTES = 16 * 1024 * 1024
"""What may wait for the socket. More means that NATS does not keep up, and publishing fails until it does."""

MAX_SUBJECT_BYTES = 3900
"""NATS cuts off who sends a line of more than 4,096, which also holds the reply's subject or the sizes."""

_CLOSE_TIMEOUT_S = 2.0
_COMPLAIN_S = 10.0
"""How often the log says that NATS is still not there; a try is made ten times a second."""


class NatsAway(Exception):
    """NATS cannot be reached now, did not answer in time, or does not keep up. Trying again later may succeed."""


class NobodyAnswers(NatsAway):
    """NATS says at once that nobody listens on the subject of a request: whoever did is gone, or not there yet."""


class NatsRefused(Exception):
    """NATS answered that it will not do this. Trying again the same way will not succeed."""


def header(headers: bytes | None, name: bytes) -> bytes | None:
    """The value of the header `name` (exact case) in a raw header block, None where it is absent."""
    if headers is None:
        return None
    start = headers.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    return headers[start : headers.find(b"\r\n", start)].strip()


def status(headers: bytes | None) -> int:
    """The status code of a reply that carries one ("NATS/1.0 503"), 0 for an ordinary message."""
    if headers is None or headers[8:9] != b" ":
        return 0
    return int(headers[9:12])


def header_block(**fields: str) -> bytes:
    """Raw headers from `Nats_Msg_Id="x"` style arguments (underscores become dashes), for `publish` and `request`."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header holds a line break")
    return "\r\n".join(("NATS/1.0", *lines, "", "")).encode()


class _Collector:
    """Gathers the replies to one request until one of them is the last."""

    __slots__ = ("future", "is_last", "replies")

    def __init__(
        self,
        future: asyncio.Future[list[tuple[bytes | None, bytes]]],
        is_last: Callable[[bytes | None], bool],
    ) -> None:
        self.future = future
        self.is_last = is_last
        self.replies: list[tuple[bytes | None, bytes]] = []


def _without_credentials(urls: str) -> str:
    parts = [urlsplit(url.strip()) for url in urls.split(",")]
    return ", ".join(part.netloc.rpartition("@")[2] or part.path for part in parts)


def _single(headers: bytes | None) -> bool:
    return True


async def _until_done_or_cancelled(work: Coroutine[Any, Any, None]) -> None:
    """Awaits `work`, and sees to it that it ends when we are cancelled.

    nats-py tries again after any failure, and a cancellation that meets a failing connect is lost in it (`wait_for` of
    Python 3.11 drops it): a process that is told to stop while NATS is away would not stop.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=0.05)
        if not task.cancelled():
            task.exception()  # looked at: nobody waits for it any more
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
        self._handlers: dict[int, Handler] = {}
        self._waiting: dict[bytes, _Collector] = {}
        self._tokens = itertools.count(1)
        self._inbox = ""
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
        self._inbox = self.new_inbox()
        self.listen(self._inbox + ".*", self._collect)
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

    async def ask(
        self, subject: str, data: bytes, headers: bytes | None = None, timeout_s: float = 5.0
    ) -> tuple[bytes | None, bytes]:
        """One request, one reply `(headers, data)`. Raises `NatsAway`, also when nobody answers in time."""
        replies = await self.ask_many(subject, data, _single, headers, timeout_s)
        return replies[0]

    async def ask_many(
        self,
        subject: str,
        data: bytes,
        is_last: Callable[[bytes | None], bool],
        headers: bytes | None = None,
        timeout_s: float = 5.0,
    ) -> list[tuple[bytes | None, bytes]]:
        """One request and all its replies, up to the first whose headers satisfy `is_last`.

        Raises `NatsAway`, and of that `NobodyAnswers` when nobody listens there.
        """
        token = b"%d" % next(self._tokens)
        reply = f"{self._inbox}.{token.decode()}"
        return await self._await_replies(token, subject, data, headers, reply, is_last, timeout_s)

    async def _await_replies(
        self,
        token: bytes,
        subject: str,
        data: bytes,
        headers: bytes | None,
        reply: str,
        is_last: Callable[[bytes | None], bool],
        timeout_s: float,
    ) -> list[tuple[bytes | None, bytes]]:
        loop = asyncio.get_running_loop()
        collector = _Collector(loop.create_future(), is_last)
        self._waiting[token] = collector
        timer = loop.call_later(timeout_s, self._expire, token)
        try:
            self.publish_now(subject, data, headers, reply)
            return await collector.future
        finally:
            timer.cancel()
            self._waiting.pop(token, None)

    def _expire(self, token: bytes) -> None:
        collector = self._waiting.pop(token, None)
        if collector is not None and not collector.future.done():
            collector.future.set_exception(NatsAway("no answer in time"))

    def _collect(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        token = subject[len(self._inbox) + 1 :]
        collector = self._waiting.get(token)
        if collector is None or collector.future.done():
            return
        if status(headers) == 503:
            collector.future.set_exception(NobodyAnswers("nobody answers there"))
            return
        collector.replies.append((headers, data))
        if collector.is_last(headers):
            collector.future.set_result(collector.replies)

    # --- receiving ---------------------------------------------------------------------------------------------------

    def listen(self, subject: str, handler: Handler, queue: str = "") -> int:
        """Subscribes; a request sent afterwards on this link reaches the server later. Survives reconnects.

        Returns the number by which `unlisten` ends it.
        """
        self._sid += 1
        number: int = self._sid
        # A future keeps nats-py from starting a task for this subscription; its queue is never used.
        placeholder = asyncio.get_running_loop().create_future()
        self._subs[number] = Subscription(self, number, subject, queue=queue, future=placeholder)
        self._handlers[number] = handler
        if self.is_connected:
            self._send(command.sub_cmd(subject, queue, number))
        return number

    async def settle(self, timeout_s: float = 5.0) -> None:
        """Returns when the server has done all that was asked of it before. Raises `NatsAway`.

        nats-py's `flush` sends its ping ahead of what is still pending, so it cannot say that.
        """
        token = b"%d" % next(self._tokens)
        await self._await_replies(token, f"{self._inbox}.{token.decode()}", b"", None, "", _single, timeout_s)

    def unlisten(self, number: int) -> None:
        """Ends a subscription; its handler is not called again."""
        self._handlers.pop(number, None)
        if self._subs.pop(number, None) is not None and self.is_connected:
            self._send(command.unsub_cmd(number, 0))

    async def retire(self, number: int, timeout_s: float = 5.0) -> None:
        """Ends a subscription in good order: its handler still gets what the server has sent by then."""
        if self._subs.pop(number, None) is not None and self.is_connected:
            self._send(command.unsub_cmd(number, 0))
            with contextlib.suppress(NatsAway):
                await self.settle(timeout_s)
        self._handlers.pop(number, None)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        handler = self._handlers.get(sid)
        if handler is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            handler(subject, reply, headers, data)
        except Exception:  # must not end nats-py's read loop
            log.exception("the handler of a message on %s failed", subject.decode(errors="replace"))

    # --- coming and going --------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Ends the connection for good."""
        self._ending = True
        if not self.is_connected:  # nats-py would write what is pending to the dead socket
            self._pending, self._pending_data_size = [], 0
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await super().close()

    async def _lost(self) -> None:
        if self._ending:
            return
        log.warning("lost the connection to NATS, reconnecting")
        waiting, self._waiting = self._waiting, {}
        for collector in waiting.values():
            if not collector.future.done():
                collector.future.set_exception(NatsAway("the connection dropped"))
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
