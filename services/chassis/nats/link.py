"""One connection of a process to NATS, with the habits of a service instead of a script.

It is made with nats-py, and differs from its `Client` where that does not fit: it never gives up reconnecting, notices
a hung server within seconds, fails what is in flight at once when the connection drops (instead of at its timeout),
hands messages to plain functions without a task and a queue for each subscription, and receives all replies through one
inbox.

A message handler gets `(subject, reply, headers, data)` as the bytes of the wire, `headers` None when there are none,
and must not block. Handlers run in the order in which the server sent the messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import urlsplit

from nats.js import JetStreamManager

from services.chassis.nats.client import MAX_PENDING_BYTES, ListeningClient, end_task
from services.chassis.nats.errors import NatsAway as NatsAway
from services.chassis.nats.errors import NatsRefused as NatsRefused
from services.chassis.nats.errors import NobodyAnswers as NobodyAnswers
from services.chassis.nats.headers import header as header
from services.chassis.nats.headers import header_block as header_block
from services.chassis.nats.headers import status as status
from services.chassis.nats.inbox import Inbox, IsLast, Reply
from services.chassis.nats.reader import Handler
from services.chassis.process.settings import NatsSettings

log = logging.getLogger(__name__)

RECONNECT_WAIT_S: Final = 0.1
PING_INTERVAL_S: Final = 3
_COMPLAIN_S: Final = 10.0
"""How often the log says that NATS is still not there; the link tries to connect ten times a second."""


def _without_credentials(urls: str) -> str:
    parts = [urlsplit(url.strip()) for url in urls.split(",")]
    return ", ".join(part.netloc.rpartition("@")[2] or part.path for part in parts)


async def _until_done_or_cancelled(work: Coroutine[Any, Any, None]) -> None:
    """Awaits `work`, and makes sure that it ends when the caller is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await end_task(task)
        raise


class NatsLink:
    """The connection of a process to the NATS servers of `settings`, under which it is known there as `name`.

    `on_connected` runs after every (re)connection, once the subscriptions stand again; `on_disconnected` when the
    connection drops, but not when `close` ends it. Both are plain functions and must not block.
    """

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        on_connected: Callable[[], None] = lambda: None,
        on_disconnected: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._client = ListeningClient()
        self._inbox = Inbox(self._client.new_inbox(), self._client.send_message)
        self._ending = False
        self._address = _without_credentials(settings.url)
        self._complain_at = 0.0

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now. One that hangs counts as one until it is noticed, some seconds later."""
        return self._client.is_connected

    @property
    def max_payload(self) -> int:
        """Bytes of headers and data that the server takes in one message."""
        return self._client.max_payload

    # --- the connection ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects, waiting for NATS as long as it takes; the log says every 10 s what is in the way."""
        options: dict[str, Any] = {}
        if self._settings.credentials_file:
            options["user_credentials"] = self._settings.credentials_file
        log.info("connecting to NATS at %s", self._address)
        connecting = self._client.connect(
            [url.strip() for url in self._settings.url.split(",")],
            name=self._name,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # annotated int, slept as given
            max_reconnect_attempts=-1,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            pending_size=MAX_PENDING_BYTES,
            error_cb=self._log_error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            skip_subject_validation=True,  # proto.subjects builds them
            **options,
        )
        await _until_done_or_cancelled(connecting)
        self.subscribe(self._inbox.pattern, self._inbox.collect)
        log.info("connected to NATS")
        self._on_connected()

    async def close(self) -> None:
        """Ends the connection for good, after what was published; gives up on that after 2 s."""
        self._ending = True
        await self._client.close()

    async def _disconnected(self) -> None:
        if self._ending:
            return
        log.warning("lost the connection to NATS, reconnecting")
        self._inbox.fail_all(NatsAway("the connection dropped"))
        self._client.drop_pending_subscriptions()
        self._on_disconnected()

    async def _reconnected(self) -> None:
        log.info("connected to NATS again")
        self._on_connected()

    async def _log_error(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if self.is_connected or now < self._complain_at:
            log.debug("NATS: %s: %s", type(error).__name__, error)
            return
        self._complain_at = now + _COMPLAIN_S
        log.warning("waiting for NATS at %s: %s", self._address, str(error) or type(error).__name__)

    # --- sending -----------------------------------------------------------------------------------------------------

    def publish(self, subject: str, data: bytes, headers: bytes | None = None, reply: str = "") -> None:
        """Hands a message to the connection, without an await: a decision and its message are one step.

        Raises `NatsAway` when there is no connection or NATS does not keep up, and `NatsRefused` for a message that is
        too large for NATS.
        """
        self._client.send_message(subject, data, headers, reply)

    async def request(self, subject: str, data: bytes, headers: bytes | None = None, timeout_s: float = 5.0) -> Reply:
        """One request and its reply `(headers, data)`. Raises `NatsAway`, also when no reply comes in time."""
        return await self._inbox.request(subject, data, headers, timeout_s)

    async def request_many(
        self, subject: str, data: bytes, is_last: IsLast, headers: bytes | None = None, timeout_s: float = 5.0
    ) -> list[Reply]:
        """One request and all its replies, up to the first whose headers satisfy `is_last`.

        Raises `NatsAway`, and of that `NobodyAnswers` when nobody listens there.
        """
        return await self._inbox.request_many(subject, data, is_last, headers, timeout_s)

    async def flush(self, timeout_s: float = 5.0) -> None:
        """Returns when the server has processed everything that was sent before. Raises `NatsAway`.

        nats-py's `flush` sends its ping ahead of what is still pending, so it cannot promise that.
        """
        await self._inbox.echo(timeout_s)

    # --- receiving ---------------------------------------------------------------------------------------------------

    def subscribe(self, subject: str, handler: Handler, queue: str = "") -> int:
        """Subscribes; a request sent afterwards on this link reaches the server later. Survives reconnects.

        Returns the subscription's number, for `unsubscribe` and `drain`.
        """
        return self._client.add_listener(subject, handler, queue)

    def unsubscribe(self, subscription: int) -> None:
        """Ends a subscription; its handler is not called again."""
        self._client.remove_listener(subscription)

    async def drain(self, subscription: int, timeout_s: float = 5.0) -> None:
        """Ends a subscription in good order: its handler still gets what the server has sent by then."""
        try:
            if self._client.stop_messages(subscription):
                with contextlib.suppress(NatsAway):
                    await self.flush(timeout_s)
        finally:
            self._client.forget_listener(subscription)

    # --- JetStream ---------------------------------------------------------------------------------------------------

    def stream_manager(self, timeout_s: float = 5.0) -> JetStreamManager:
        """nats-py's calls that make, change and delete streams. Messages are stored and read by `streams`."""
        return self._client.jsm(timeout=timeout_s)
