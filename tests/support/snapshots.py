"""A backup and a restore of one stream while NATS runs, as `nats stream backup` and `nats stream restore` make them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from services.chassis.nats.link import NatsLink


async def snapshot(link: NatsLink, stream: str) -> tuple[dict[str, Any], list[bytes]]:
    """The stream's configuration and state, and its data."""
    chunks: list[bytes] = []
    done = asyncio.Event()
    inbox = f"_SNAPSHOT.{stream}"

    def take(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        if data:
            chunks.append(data)
            if reply:
                link.publish(reply.decode(), b"")
        else:
            done.set()

    number = link.subscribe(inbox, take)
    _, answer = await link.request(f"$JS.API.STREAM.SNAPSHOT.{stream}", json.dumps({"deliver_subject": inbox}).encode())
    said = json.loads(answer)
    assert "error" not in said, said
    await asyncio.wait_for(done.wait(), 10)
    link.unsubscribe(number)
    return {"config": said["config"], "state": said["state"]}, chunks


async def restore(link: NatsLink, stream: str, kept: tuple[dict[str, Any], list[bytes]]) -> None:
    """Puts the stream back, which must not be there."""
    what, chunks = kept
    _, answer = await link.request(f"$JS.API.STREAM.RESTORE.{stream}", json.dumps(what).encode())
    said = json.loads(answer)
    assert "error" not in said, said
    for chunk in chunks:
        await link.request(said["deliver_subject"], chunk)
    _, answer = await link.request(said["deliver_subject"], b"")
    assert "error" not in json.loads(answer), answer
