"""One open channel's subscription on NATS: decodes each message once, and passes it on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proto.publications import BadPublication, decode_live, decode_publication, published_at
from proto.subjects import LogAddress
from proto.trace_context import MARK, sampled_in
from services.chassis.process.log_fields import about
from services.edge.broker.broker import BrokerEvents

log = logging.getLogger(__name__)

NOWHERE: Final = LogAddress("", "")
"""The log of a channel without history."""


class HeardStream:
    """How far this edge has heard a stream, over one connection to NATS.

    NATS brings the messages of a stream in their order, or drops the connection. So once the message `upto` has come,
    all earlier messages have come as well, of every channel that was open here. A message that is not after `upto`
    comes from another log under the same name: the stream was deleted and made again, or restored. Then the stream is
    `suspect`. A stream that is `suspect`, or does not answer, is `suspended`: its messages are ignored until it was
    checked.
    """

    __slots__ = ("_on_doubt", "suspect", "suspended", "upto")

    def __init__(self, on_doubt: Callable[[], None] = lambda: None) -> None:
        self._on_doubt = on_doubt
        self.upto = 0
        self.suspect = False
        self.suspended = False

    def doubt(self) -> None:
        """The stream may be another one than before. `on_doubt` gets it checked."""
        if not self.suspect:
            self.suspect = self.suspended = True
            self._on_doubt()

    def suspend(self, *, suspect: bool = True) -> None:
        """The same, but the caller takes care of the check. Not `suspect`: the stream merely does not answer."""
        self.suspended = True
        self.suspect = self.suspect or suspect

    def checked(self, last: int) -> None:
        """The stream was checked, and its last sequence was `last`."""
        self.upto = last
        self.suspect = self.suspended = False


class ChannelSubscription:
    """`number` is the link's number of this subscription. No message of the channel up to `audited` was missed: an
    audit has found that, or they came live. `unheard`: the connection has dropped since, so later messages may have
    been missed. `mark` is the sequence of the newest message that marked a removed history.

    An edge has thousands of these, so the handlers are methods, not a closure for each channel.
    """

    __slots__ = ("_channel", "_events", "_heard", "audited", "mark", "number", "unheard", "where")

    def __init__(
        self, channel: str, events: BrokerEvents, where: LogAddress = NOWHERE, heard: HeardStream | None = None
    ) -> None:
        self._channel = channel
        self._events = events
        self._heard = heard or HeardStream()
        self.where = where
        self.number = 0
        self.audited = 0
        self.mark = 0
        self.unheard = False

    def live(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        """A message of a channel with history."""
        try:
            message = decode_live(headers, data)
        except BadPublication as error:
            self._ignore(subject, error)
            return
        if message.sequence:
            heard = self._heard
            if message.sequence <= heard.upto or heard.suspended:
                if message.sequence <= heard.upto:
                    heard.doubt()
                return
            heard.upto = message.sequence
            if message.removed_upto:
                self.mark = message.sequence
        self._events.live(self._channel, message)

    def disconnected(self) -> None:
        """The connection dropped: from now on messages are missed."""
        if not self.unheard:  # otherwise messages that came since may follow some that were missed
            self.audited = max(self.audited, self._heard.upto)
            self.unheard = True

    def ephemeral(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        """A message of a channel without history."""
        try:
            publication = decode_publication(headers, data)
        except BadPublication as error:
            self._ignore(subject, error)
            return
        trace = sampled_in(headers) if headers is not None and MARK in headers else None
        self._events.ephemeral(self._channel, publication, published_at(headers), trace)

    def _ignore(self, subject: bytes, error: BadPublication) -> None:
        on = subject.decode(errors="replace")
        log.warning("ignoring a message on %s: %s", on, error, extra=about(channel=self._channel))
