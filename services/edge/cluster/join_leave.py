"""Joins and leaves in channels, published to every edge that has opened the channel with `JoinLeave.open`.

Delivered at most once, and in the order in which one edge publishes them. Implementations: `join_leave_nats`,
`join_leave_memory`, both held to `tests/contract/join_leave.py`.
"""

from __future__ import annotations

from typing import Protocol

from proto.members import MemberEvent


class JoinLeaveEvents(Protocol):
    """Receives joins and leaves. Called in the event loop; must not block."""

    def member_event(self, channel: str, event: MemberEvent) -> None:
        """A client joined, changed or left, on this edge or another."""


class JoinLeave(Protocol):
    """Carries joins and leaves between edges, for the channels that are open."""

    def start(self, events: JoinLeaveEvents) -> None:
        """From now on `events` gets the joins and leaves of open channels."""

    def open(self, channel: str) -> None:
        """Subscribes to a channel. If an edge answers a request that is sent afterwards, its later events arrive."""

    def close(self, channel: str) -> None:
        """Unsubscribes from a channel."""

    def publish(self, channel: str, event: MemberEvent) -> None:
        """Sends the event to all edges. This edge gets it soon, too, but never within the call.

        While the broker is unavailable, only this edge gets it: members are compared afterwards. Never raises.
        """
