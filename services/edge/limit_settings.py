"""The section `limits`: how much a client, a user and an address may ask of one edge.

The defaults are so high that an ordinary application never reaches them: they keep one client from using up the edge.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta
from msgspec.structs import fields

from services.chassis.process.settings import Rate, Section


class LimitsSection(Section, frozen=True):
    """Rates are written "600/10s": 600 at once, and 60 a second in the long run. 0 switches a limit off."""

    connections: Annotated[int, Meta(ge=0)] = 0
    """Clients of one edge; further ones get 503. 0: as many as its file descriptors allow, less a reserve."""
    connects: Rate = Rate(20_000, 10)
    """Connects of one edge; further ones get 503."""
    address_connections: Annotated[int, Meta(ge=0)] = 10_000
    """Clients of one address (IPv6: one /64) on one edge; further ones get 429. At most half of the edge's own limit.
    0: any number."""
    address_connects: Rate = Rate(5_000, 10)
    """Connects of one address on one edge; further ones get 429."""
    address_emulations: Rate = Rate(10_000, 10)
    """`POST /emulation` of one address on one edge, which ask the edge that has the stream; further ones get 429."""
    commands: Rate = Rate(5_000, 10)
    """Commands of one connection, of any kind; further ones get error 111. Always allowed at once:
    `client.channel_limit`."""
    user_commands: Rate = Rate(10_000, 10)
    """The same for all connections of a user on one edge. Anonymous clients count by address."""
    publishes: Rate = Rate(2_000, 10)
    """Publishes of one connection; further ones get error 111."""
    user_publishes: Rate = Rate(4_000, 10)
    """The same for all connections of a user on one edge."""
    published_bytes: Rate = Rate(20_000_000, 10)
    """Bytes of the data that one connection publishes; further publishes get error 111. Always allowed at once:
    `client.message_size_limit`."""
    user_published_bytes: Rate = Rate(40_000_000, 10)
    """The same for all connections of a user on one edge."""
    subscribes: Rate = Rate(2_000, 10)
    """Subscribes of one connection; further ones get error 111. Always allowed at once: `client.channel_limit`."""
    user_subscribes: Rate = Rate(5_000, 10)
    """The same for all connections of a user on one edge."""


_nothing: dict[str, Any] = {field.name: Rate() if field.type is Rate else 0 for field in fields(LimitsSection)}
NO_LIMITS: Final = LimitsSection(**_nothing)
