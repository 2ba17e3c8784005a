"""Makes JetStream forget message ids, as it does by itself after minutes."""

from __future__ import annotations

import dataclasses

from services.chassis.nats.link import NatsLink


async def forget_ids(link: NatsLink, stream: str) -> None:
    """From now on the stream forgets ids within a moment."""
    manager = link.stream_manager()
    config = (await manager.stream_info(stream)).config
    await manager.update_stream(dataclasses.replace(config, duplicate_window=0.1))
