"""One open channel's subscription on NATS: decodes each message once, and passes it on."""

from __future__ import annotations

import logging
from typing import Final

from proto.publications import BadPublication, decode_live, decode_publication
from proto.subjects import LogAddress
from services.edge.broker.broker import BrokerEvents

log = logging.getLogger(__name__)

NOWHERE: Final = LogAddress("", "")
"""The log of a channel without history."""


class ChannelSubscription:
    """`number` is the link's for this subscription; an audit has found that nothing up to `audited` was missed.

    An edge has thousands of these, so the handlers are methods and not functions that are made for each channel.
    """

    __slots__ = ("_channel", "_events", "audited", "number", "where")

    def __init__(self, channel: str, events: BrokerEvents, where: LogAddress = NOWHERE) -> None:
        self._channel = channel
        self._events = events
        self.where = where
        self.number = 0
        self.audited = 0

    def live(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        """A message of a channel with history."""
        try:
            message = decode_live(headers, data)
        except BadPublication as error:
            self._ignore(subject, error)
            return
        self._events.live(self._channel, message)

    def ephemeral(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        """A message of a channel without history."""
        try:
            publication = decode_publication(headers, data)
        except BadPublication as error:
            self._ignore(subject, error)
            return
        self._events.ephemeral(self._channel, publication)

    def _ignore(self, subject: bytes, error: BadPublication) -> None:
        on = subject.decode(errors="replace")
        log.warning("ignoring a message on %s: %s", on, error, extra={"channel": self._channel})
