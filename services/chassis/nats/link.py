"""One connection of a process to NATS, made for a service instead of a script.

It is built on nats-py, and differs from nats-py's own `Client`: it never gives up reconnecting; it notices a hung
server within seconds; when the connection drops, requests in flight fail at once instead of at their timeout; messages
go to plain functions, without a task and a queue for each subscription; and all replies arrive through one inbox.

A message handler gets `(subject, reply, headers, data)` as bytes of the wire, with `headers` None if there are none. It
must not block. Handlers run in the order in which the server sent the messages.
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
from services.chassis.nats.errors import Cause as Cause
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
"""Seconds between log lines about NATS being unreachable; the link tries to connect ten times a second."""

_FORBIDDEN_NAMED: Final = 20
"""Warnings about what NATS does not permit, each logged once."""


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

    `on_connected` runs after every (re)connection, once all subscriptions are made again; `on_disconnected` when the
    connection drops, but not when `close` ends it. Both are plain functions and must not block. `disconnects` and
    `permission_violations` count since the start.
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
        self._forbidden: set[str] = set()
        self.disconnects = 0
        self.permission_violations = 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now. A hung one counts until the link notices it, some seconds later."""
        return self._client.is_connected

    @property
    def max_payload(self) -> int:
        """The server's limit for the headers and data of one message, in bytes."""
        return self._client.max_payload

    @property
    def server_id(self) -> str:
        """The id of the server at the other end. A server that starts again has another one."""
        return self._client.server_id

    @property
    def in_cluster(self) -> bool:
        """Whether the server at the other end is one of several."""
        return self._client.in_cluster

    # --- the connection ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects. Waits for NATS without a limit, and logs every 10 s why it is not connected."""
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
        """Ends the connection for good, once all that was published is sent or 2 s have passed."""
        self._ending = True
        await self._client.close()

    async def _disconnected(self) -> None:
        if self._ending:
            return
        self.disconnects += 1
        log.warning("lost the connection to NATS, reconnecting")
        self._inbox.fail_all(NatsAway("the connection dropped"))
        self._client.drop_pending()
        self._on_disconnected()

    async def _reconnected(self) -> None:
        log.info("connected to NATS again")
        self._on_connected()

    async def _log_error(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if "permissions violation" in str(error).lower():
            self.permission_violations += 1
            if str(error) not in self._forbidden and len(self._forbidden) < _FORBIDDEN_NAMED:
                self._forbidden.add(str(error))
                log.warning("%s: allow it to this user in the configuration of NATS (docs/operations.md)", error)
            return
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
        """Sends a request and returns its reply `(headers, data)`. Raises `NatsAway`, also if none comes in time."""
        return await self._inbox.request(subject, data, headers, timeout_s)

    async def request_many(
        self, subject: str, data: bytes, is_last: IsLast, headers: bytes | None = None, timeout_s: float = 5.0
    ) -> list[Reply]:
        """Sends a request and returns all its replies, up to the first whose headers satisfy `is_last`.

        Raises `NatsAway`; it is `NobodyAnswers` if no one subscribes to the subject.
        """
        return await self._inbox.request_many(subject, data, is_last, headers, timeout_s)

    async def flush(self, timeout_s: float = 5.0) -> None:
        """Returns when the server has processed everything that was sent before. Raises `NatsAway`.

        nats-py's `flush` sends its ping ahead of what is still pending, so it cannot promise that.
        """
        await self._inbox.echo(timeout_s)

    # --- receiving ---------------------------------------------------------------------------------------------------

    def subscribe(self, subject: str, handler: Handler, queue: str = "") -> int:
        """Subscribes, until `unsubscribe` or `drain` is called with the number that this returns.

        The server knows of the subscription before it receives anything sent later on this link. The link makes it
        again after each reconnect. Subscribers of the same `queue` share the messages.
        """
        return self._client.add_listener(subject, handler, queue)

    def unsubscribe(self, subscription: int) -> None:
        """Ends a subscription; its handler is not called again."""
        self._client.remove_listener(subscription)

    async def drain(self, subscription: int, timeout_s: float = 5.0) -> None:
        """Ends a subscription, and returns when its handler has received all that the server had sent by then."""
        try:
            if self._client.stop_messages(subscription):
                with contextlib.suppress(NatsAway):
                    await self.flush(timeout_s)
        finally:
            self._client.forget_listener(subscription)

    # --- JetStream ---------------------------------------------------------------------------------------------------

    def stream_manager(self, timeout_s: float = 5.0) -> JetStreamManager:
        """nats-py's calls to create, change and delete streams. Storing and reading messages is in `streams`."""
        return self._client.jsm(timeout=timeout_s)
