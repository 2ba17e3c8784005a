"""Joins and leaves between edges: who comes into a channel and who goes, told to every edge that listens.

At most once, and in the order in which one edge tells them. Implementations: `join_leave_nats`, `join_leave_memory`.
"""

from __future__ import annotations

from typing import Protocol

from proto.members import MemberEvent


class JoinLeaveEvents(Protocol):
    """Who is told. Called in the event loop; must not block."""

    def member_event(self, channel: str, event: MemberEvent) -> None:
        """Somebody came or went, on this edge or another."""


class JoinLeave(Protocol):
    """`open` begins to listen to a channel: what is told after an answer that was asked for later is heard."""

    def start(self, events: JoinLeaveEvents) -> None:
        """From now on `events` is told."""

    def open(self, channel: str) -> None: ...

    def close(self, channel: str) -> None: ...

    def publish(self, channel: str, event: MemberEvent) -> None:
        """Tells all edges; this one hears of it soon, never within the call.

        While the broker is away only this edge hears of it: members are compared afterwards. Never raises.
        """
