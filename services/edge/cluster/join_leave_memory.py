"""Joins and leaves in memory: for unit tests, beside `broker_memory`."""

from __future__ import annotations

import asyncio

from proto.members import MemberEvent
from services.edge.cluster.join_leave import JoinLeaveEvents


class MemoryJoinLeave:
    """See `join_leave.JoinLeave`. Those that share `everybody` are one cluster; `away` cuts this one off from it."""

    def __init__(self, everybody: list[MemoryJoinLeave]) -> None:
        self._everybody = everybody
        self._events: JoinLeaveEvents | None = None
        self._open: set[str] = set()
        self.away = False
        everybody.append(self)

    def start(self, events: JoinLeaveEvents) -> None:
        self._events = events

    def open(self, channel: str) -> None:
        self._open.add(channel)

    def close(self, channel: str) -> None:
        self._open.discard(channel)

    def publish(self, channel: str, event: MemberEvent) -> None:
        for each in self._everybody:
            if each is self or not (self.away or each.away):
                asyncio.get_running_loop().call_soon(each._hear, channel, event)

    def _hear(self, channel: str, event: MemberEvent) -> None:
        if self._events is not None and channel in self._open:
            self._events.member_event(channel, event)
