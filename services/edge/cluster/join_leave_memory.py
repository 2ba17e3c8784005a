"""Joins and leaves within one process: `edge.broker = "memory"`."""

from __future__ import annotations

import asyncio

from proto.members import MemberEvent
from services.edge.cluster.join_leave import JoinLeaveEvents


class MemoryJoinLeave:
    """See `join_leave.JoinLeave`. The edges in one list `all_edges` are a cluster; a lone edge has its own."""

    def __init__(self, all_edges: list[MemoryJoinLeave]) -> None:
        self._all_edges = all_edges
        self._events: JoinLeaveEvents | None = None
        self._open: set[str] = set()
        all_edges.append(self)

    def start(self, events: JoinLeaveEvents) -> None:
        self._events = events

    def open(self, channel: str) -> None:
        self._open.add(channel)

    def close(self, channel: str) -> None:
        self._open.discard(channel)

    def publish(self, channel: str, event: MemberEvent) -> None:
        for each in self._all_edges:
            each.receive(channel, event)

    def receive(self, channel: str, event: MemberEvent) -> None:
        """Takes an event from an edge of the cluster, and delivers it in a later turn of the loop."""
        asyncio.get_running_loop().call_soon(self._deliver, channel, event)

    def _deliver(self, channel: str, event: MemberEvent) -> None:
        if self._events is not None and channel in self._open:
            self._events.member_event(channel, event)
