"""Puts the memory of an edge on the page, by its use.

Numerous things are counted and multiplied by their average size, or summed up as they change: nothing here walks all
clients or channels. Clients whose sockets are full are few.
"""

from __future__ import annotations

from typing import Final

from services.chassis.metrics.page import Page
from services.edge.connection.context import EdgeContext
from services.edge.connection.memory_watch import (
    CHANNEL_BYTES,
    CONNECTION_BYTES,
    KERNEL_BYTES,
    SUBSCRIPTION_BYTES,
    MemoryWatch,
)

SESSION_EVENT_BYTES: Final = 300


def put_memory(page: Page, context: EdgeContext, watch: MemoryWatch) -> None:
    """Puts the memory limits, the memory in use, and its parts."""
    page.put("fairlead_edge_memory_soft_limit_bytes", watch.limits.soft)
    page.put("fairlead_edge_memory_hard_limit_bytes", watch.limits.hard)
    page.put("fairlead_edge_memory_used_bytes", watch.used)
    for part, size in _parts(context).items():
        page.put("fairlead_edge_memory_part_bytes", size, part)


def _parts(context: EdgeContext) -> dict[str, int]:
    connections, channels = len(context.registry), context.node.channels
    return {
        "kernel": KERNEL_BYTES * connections,
        "connections": (CONNECTION_BYTES - KERNEL_BYTES) * connections,
        "subscriptions": SUBSCRIPTION_BYTES * context.node.subscriptions,
        "client_backlog": sum(connection.lag.size for connection in context.registry.stalled),
        "channels": CHANNEL_BYTES * len(channels),
        "rings": channels.rings.total_bytes,
        "log_parts": context.node.parts.kept_bytes,
        "fan_out": channels.pace.waiting_bytes,
        "session_events": SESSION_EVENT_BYTES * context.session_log.waiting,
    }
