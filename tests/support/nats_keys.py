"""Makes JetStream forget message ids, as it does by itself after minutes."""

from __future__ import annotations

import dataclasses

from services.chassis.nats.link import NatsLink


async def forget_ids(link: NatsLink, stream: str) -> None:
    """Shortens the stream's duplicate window, so that JetStream forgets ids within a moment.

    It updates the window twice. JetStream may look for ids to forget before the new window holds; then it looks again
    only after the old one, which is minutes later. The second update makes it look while a short window holds.
    """
    manager = link.stream_manager()
    config = (await manager.stream_info(stream)).config
    for window_s in (0.1, 0.2):
        await manager.update_stream(dataclasses.replace(config, duplicate_window=window_s))
