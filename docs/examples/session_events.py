"""Follows the session log over NATS: what connects, subscribes, unsubscribes and leaves, on all edges.

    .venv/bin/python docs/examples/session_events.py [nats://127.0.0.1:4222]

If it is killed and started again, it continues where it stopped. docs/events.md describes the
facts, and what they promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import nats
from nats.errors import TimeoutError as NothingNew
from nats.js.api import ConsumerConfig

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
IN_ORDER = ConsumerConfig(max_ack_pending=1)  # nothing overtakes a message that was not acknowledged


async def main() -> None:
    jetstream = (await nats.connect(ADDRESS, max_reconnect_attempts=-1)).jetstream()
    log = await jetstream.pull_subscribe("ev.session.>", durable="example", stream="SESSIONS", config=IN_ORDER)
    while True:
        with contextlib.suppress(NothingNew):
            (message,) = await log.fetch(1)
            batch = json.loads(message.data)
            for fact in batch["events"]:
                print(batch["edge"], fact["type"], fact.get("connection", ""), flush=True)
            await message.ack()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
