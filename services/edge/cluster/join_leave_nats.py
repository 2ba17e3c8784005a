"""Joins and leaves over core NATS, on `mem.<channel>`. An edge delivers its own by itself, even without NATS."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from msgspec import DecodeError

from proto import subjects
from proto.members import MemberEvent, decode_member_event, encode_member_event
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused
from services.chassis.process.log_fields import about
from services.edge.cluster.join_leave import JoinLeaveEvents

log = logging.getLogger(__name__)


class NatsJoinLeave:
    """See `join_leave.JoinLeave`. `instance` is the instance of this edge."""

    def __init__(self, link: NatsLink, instance: str) -> None:
        self._link = link
        self._instance = instance
        self._events: JoinLeaveEvents | None = None
        self._open: dict[str, int] = {}

    def start(self, events: JoinLeaveEvents) -> None:
        self._events = events

    def open(self, channel: str) -> None:
        events = self._events
        assert events is not None, "open() before start()"

        def handler(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
            try:
                event = decode_member_event(data)
            except DecodeError as error:
                log.warning(
                    "ignoring a message on %s: %s",
                    subject.decode(errors="replace"),
                    error,
                    extra=about(channel=channel),
                )
                return
            if event.edge != self._instance:
                events.member_event(channel, event)

        if channel not in self._open:
            self._open[channel] = self._link.subscribe(subjects.members(channel), handler)

    def close(self, channel: str) -> None:
        number = self._open.pop(channel, None)
        if number is not None:
            self._link.unsubscribe(number)

    def publish(self, channel: str, event: MemberEvent) -> None:
        with contextlib.suppress(NatsAway, NatsRefused):
            self._link.publish(subjects.members(channel), encode_member_event(event))
        if channel in self._open:
            asyncio.get_running_loop().call_soon(self._deliver_own, channel, event)

    def _deliver_own(self, channel: str, event: MemberEvent) -> None:
        if self._events is not None and channel in self._open:
            self._events.member_event(channel, event)
