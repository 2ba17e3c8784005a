"""Joins and leaves within one process: `edge.broker = "memory"`."""

from __future__ import annotations

import asyncio

from proto.members import MemberEvent
from services.edge.cluster.join_leave import JoinLeaveEvents


class MemoryJoinLeave:
    """See `join_leave.JoinLeave`. Those that share `everybody` are one cluster; an edge by itself gives a new list."""

    def __init__(self, everybody: list[MemoryJoinLeave]) -> None:
        self._everybody = everybody
        self._events: JoinLeaveEvents | None = None
        self._open: set[str] = set()
        everybody.append(self)

    def start(self, events: JoinLeaveEvents) -> None:
        self._events = events

    def open(self, channel: str) -> None:
        self._open.add(channel)

    def close(self, channel: str) -> None:
        self._open.discard(channel)

    def publish(self, channel: str, event: MemberEvent) -> None:
        for each in self._everybody:
            each.receive(channel, event)

    def receive(self, channel: str, event: MemberEvent) -> None:
        """An event from one of `everybody`, which arrives in a later turn of the loop."""
        asyncio.get_running_loop().call_soon(self._deliver, channel, event)

    def _deliver(self, channel: str, event: MemberEvent) -> None:
        if self._events is not None and channel in self._open:
            self._events.member_event(channel, event)
