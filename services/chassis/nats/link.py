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
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final

from nats.js import JetStreamManager
from nats.nuid import NUID

from proto import subjects
from services.chassis.nats.api_requests import stream_manager
from services.chassis.nats.client import (
    MAX_PENDING_BYTES,
    ListeningClient,
    ServerComplains,
    SignInRefused,
    end_task,
)
from services.chassis.nats.errors import Cause as Cause
from services.chassis.nats.errors import NatsAway as NatsAway
from services.chassis.nats.errors import NatsRefused as NatsRefused
from services.chassis.nats.errors import NobodyAnswers as NobodyAnswers
from services.chassis.nats.errors import NotPermitted as NotPermitted
from services.chassis.nats.headers import header as header
from services.chassis.nats.headers import header_block as header_block
from services.chassis.nats.headers import status as status
from services.chassis.nats.inbox import Inbox, IsLast, Reply
from services.chassis.nats.permissions import Permissions, forbidden_by
from services.chassis.nats.reader import Handler
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.sign_in import SignIn

log = logging.getLogger(__name__)

RECONNECT_WAIT_S: Final = 0.1
PING_INTERVAL_S: Final = 3
_COMPLAIN_S: Final = 10.0
"""Seconds between log lines about NATS being unreachable; the link tries to connect ten times a second."""
_COMPLAINTS_KEPT: Final = 20

_REFUSED_AGAIN_S: Final = 60.0
"""Seconds between log lines about credentials that NATS refuses; the link tries once a second."""
_REFUSAL_HOLDS_S: Final = 10.0
"""How long a refusal counts if no server repeats it, since none can be reached. It is long enough to try each
server."""
_GATHER_S: Final = 0.1
"""What NATS refuses within this time is logged in one line."""
_PERMITTED_NOW_S: Final = 5.0
"""Seconds between two tries to make subscriptions that NATS did not permit."""


async def _until_done_or_cancelled(work: Coroutine[Any, Any, None]) -> None:
    """Awaits `work`, and makes sure that it ends when the caller is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await end_task(task)
        raise


class NatsLink:
    """The connection of a process to the NATS servers of `settings`; it is known there as `name`.

    `on_connected` runs after every (re)connection, once all subscriptions are made again; `on_disconnected` when the
    connection drops, but not when `close` ends it. Both are plain functions and must not block. `disconnects` and
    `permission_violations` count since the start. Replies come to subjects below `inbox_prefix`, unless the settings
    have another one. In the log this NATS is named `called`, and the names of its settings begin with `keys`.
    """

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        on_connected: Callable[[], None] = lambda: None,
        on_disconnected: Callable[[], None] = lambda: None,
        inbox_prefix: str = subjects.INBOX,
        called: str = "NATS",
        keys: str = "nats.",
    ) -> None:
        self._name = name
        self._called = called
        self._keys = keys
        self._replicas = settings.replicas or 0
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._sign_in = SignIn(settings, keys)
        self._client = ListeningClient(self._sign_in)
        inbox = f"{settings.inbox_prefix or inbox_prefix}.{NUID().next().decode()}"
        self._inbox = Inbox(inbox, self._client.send_message)
        self._ending = False
        self._addresses = settings.servers.addresses
        self._complain_at: dict[str, float] = {}
        self._refusal: str | None = None
        self._refusal_ends_at = 0.0
        self._refusal_again_at = 0.0
        self._permissions = Permissions(inbox)
        self._retry: asyncio.TimerHandle | None = None
        self._news: asyncio.TimerHandle | None = None
        self.disconnects = 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now. A hung one counts until the link notices it, some seconds later."""
        return self._client.is_connected

    @property
    def permission_violations(self) -> int:
        """Publishes and subscriptions that NATS did not permit."""
        return self._permissions.violations

    @property
    def problem(self) -> str | None:
        """Why this process should get no work, for its operator: its credentials are refused, or it lacks a permission
        that it needs. None if there is no such reason, with or without a connection."""
        now = asyncio.get_running_loop().time()
        refusal = self._refusal if now < self._refusal_ends_at else None
        return refusal or self._permissions.problem(now)

    @property
    def max_payload(self) -> int:
        """The server's limit for the headers and data of one message, in bytes."""
        return self._client.max_payload

    @property
    def replicas(self) -> int:
        """How many servers should have each stream. 0: not set, so that existing streams stay as they are."""
        return self._replicas

    @property
    def server_id(self) -> str:
        """The id of the server at the other end. A server has a new id after each start."""
        return self._client.server_id

    @property
    def in_cluster(self) -> bool:
        """Whether the server at the other end belongs to a cluster."""
        return self._client.in_cluster

    # --- the connection ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects. Waits for NATS without a limit, and logs every 10 s why it is not connected."""
        log.info("connecting to %s at %s as %s", self._called, ", ".join(self._addresses), self._sign_in.who)
        connecting = self._client.connect(
            [f"nats://{address}" for address in self._addresses],
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
        )
        await _until_done_or_cancelled(connecting)
        self.subscribe(self._inbox.pattern, self._inbox.collect)
        log.info("connected to %s", self._called)
        self._connected()

    async def close(self) -> None:
        """Ends the connection for good, once everything that was published is sent or 2 s have passed."""
        self._ending = True
        self._try_no_more()
        if self._news is not None:
            self._news.cancel()
            self._tell_what_is_forbidden()
        await self._client.close()

    def _connected(self) -> None:
        self._refusal = None
        self._refusal_again_at = 0.0
        self._on_connected()

    async def _disconnected(self) -> None:
        if self._ending:
            return
        self.disconnects += 1
        log.warning("lost the connection to %s, reconnecting", self._called)
        self._inbox.fail_all(NatsAway("the connection dropped"))
        self._client.drop_pending()
        self._permissions.forget()
        self._try_no_more()
        self._on_disconnected()

    async def _reconnected(self) -> None:
        log.info("connected to %s again", self._called)
        self._connected()

    async def _log_error(self, error: Exception) -> None:
        if isinstance(error, ServerComplains):
            self._heed(str(error))
        elif isinstance(error, SignInRefused):
            self._refused(str(error))
        elif not self.is_connected:
            text = str(error) or type(error).__name__
            if isinstance(error, TimeoutError) and not error.errno:
                text = "no answer in time: it hangs, or this is not its port for clients (4222 by default)"
            if isinstance(error, ssl.SSLError):
                keys = self._keys
                text += f" (its certificate and ours: {keys}ca_file, {keys}cert_file, {keys}key_file)"
            self._complain(f"waiting for {self._called} at {', '.join(self._addresses)}: {text}")
        else:
            log.debug("%s: %s: %s", self._called, type(error).__name__, error)

    def _complain(self, text: str) -> None:
        """Logs a text, but the same text only once in 10 s."""
        now = asyncio.get_running_loop().time()
        if now < self._complain_at.get(text, 0.0):
            return
        if len(self._complain_at) >= _COMPLAINTS_KEPT:
            self._complain_at.clear()
        self._complain_at[text] = now + _COMPLAIN_S
        log.warning("%s", text)

    def _refused(self, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        self._refusal = f"{self._called} refuses the credentials of {self._sign_in.who}: {reason}"
        self._refusal_ends_at = now + _REFUSAL_HOLDS_S
        if now >= self._refusal_again_at:
            self._refusal_again_at = now + _REFUSED_AGAIN_S
            log.warning("%s; asking again until it accepts them (docs/nats.md)", self._refusal)

    def _heed(self, complaint: str) -> None:
        """Handles an error that a server has sent; the server may continue, or end the connection."""
        forbidden = forbidden_by(complaint)
        if forbidden is None:
            self._complain(f"{self._called} says: {complaint}")
            return
        loop = asyncio.get_running_loop()
        if self._permissions.refused(forbidden, loop.time()) and self._news is None:
            self._news = loop.call_later(_GATHER_S, self._tell_what_is_forbidden)
        if forbidden.publishing:
            self._inbox.fail_one(forbidden.subject, NotPermitted(f"NATS does not permit {forbidden}"))
        elif self._retry is None:
            self._retry = loop.call_later(_PERMITTED_NOW_S, self._try_again)

    def _tell_what_is_forbidden(self) -> None:
        self._news = None
        if news := self._permissions.news(asyncio.get_running_loop().time()):
            log.warning(
                "%s does not permit %s: allow it to %s in the configuration of NATS (docs/nats.md)",
                self._called,
                news,
                self._sign_in.who,
            )

    def _try_again(self) -> None:
        """Repeats the subscriptions that NATS did not permit, as NATS does not say when it permits them."""
        self._retry = None
        loop = asyncio.get_running_loop()
        among = self._permissions.to_try(loop.time())
        if among is None or among:
            self._client.listen_again(among)
            self._retry = loop.call_later(_PERMITTED_NOW_S, self._try_again)

    def _try_no_more(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # --- sending -----------------------------------------------------------------------------------------------------

    def publish(self, subject: str, data: bytes, headers: bytes | None = None, reply: str = "") -> None:
        """Hands a message to the connection, without an await, so that nothing can come between a decision and its
        message.

        Raises `NatsAway` when there is no connection or NATS does not keep up, and `NatsRefused` for a message that is
        too large for NATS.
        """
        self._client.send_message(subject, data, headers, reply)

    async def request(self, subject: str, data: bytes, headers: bytes | None = None, timeout_s: float = 5.0) -> Reply:
        """Sends a request and returns its reply `(headers, data)`. Raises `NatsAway`, including when no reply comes in
        time."""
        return await self._inbox.request(subject, data, headers, timeout_s)

    async def request_many(
        self, subject: str, data: bytes, is_last: IsLast, headers: bytes | None = None, timeout_s: float = 5.0
    ) -> list[Reply]:
        """Sends a request and returns all its replies, up to the first whose headers satisfy `is_last`.

        Raises `NatsAway`, which is `NobodyAnswers` if the subject has no subscriber.
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

        The server gets the subscription before anything that is sent later on this link. The link subscribes again
        after each reconnect. Subscribers of the same `queue` share the messages.
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
        """nats-py's calls to create, change and delete streams. They raise `NatsAway`, besides nats-py's own errors of
        JetStream. `streams` stores and reads messages."""
        return stream_manager(self.request, timeout_s)
