"""What shows whether a stream is still the same one: its metadata, and the time of one of its messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import msgspec
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, header, status
from services.chassis.nats.stream_reads import read_last
from services.chassis.nats.streams import StreamState, WrongSequence, expect_last, raised, state_of, store

_API_TIMEOUT_S: Final = 5.0
LEASE_S: Final = 2.0
"""How long a lock is respected: its holder only needs two requests."""
_POLL_S: Final = 0.01
_FREE: Final = b"free"
_HELD: Final = b"held"


class Lock(NamedTuple):
    """A subject of a stream that keeps the newest message of each subject; that message says whether the lock is
    held."""

    stream: str
    subject: str


async def change_metadata(
    link: NatsLink, name: str, change: Callable[[StreamState], dict[str, str] | None], lock: Lock
) -> StreamState:
    """Adds what `change` returns for the stream's state to the stream's metadata; None changes nothing.

    If two callers read the same metadata, JetStream would let the last one overwrite the other's change. So one holds
    `lock` meanwhile, and the other then reads the changed metadata. Raises `NatsAway`, `NatsRefused`.
    """
    manager = link.stream_manager(_API_TIMEOUT_S)
    try:
        info = await manager.stream_info(name)
        if change(state_of(info)) is None:
            return state_of(info)
        held = await _acquire(link, lock)
        try:
            info = await manager.stream_info(name)
            changes = change(state_of(info))
            if changes is not None:
                metadata = {**(info.config.metadata or {}), **changes}
                info = await manager.update_stream(replace(info.config, metadata=metadata))
        finally:
            with contextlib.suppress(NatsAway, NatsRefused):  # another caller takes the lock over after `LEASE_S`
                await store(link, lock.subject, _FREE, expect_last(None, held))
        return state_of(info)
    except APIError as error:
        raise raised(f"stream {name}", error) from None
    except (NatsError, TimeoutError) as error:
        raise NatsAway(f"the metadata of stream {name}: {error}") from None


async def _acquire(link: NatsLink, lock: Lock) -> int:
    """Waits until the lock is free, or was held for `LEASE_S`, and takes it. Returns the sequence of its message."""
    loop = asyncio.get_running_loop()
    seen, since = 0, loop.time()
    while True:
        newest = await read_last(link, lock.stream, lock.subject)
        sequence = 0 if newest is None else newest.sequence
        if sequence != seen:
            seen, since = sequence, loop.time()
        if newest is None or newest.data == _FREE or loop.time() - since > LEASE_S:
            try:
                return (await store(link, lock.subject, _HELD, expect_last(None, sequence))).sequence
            except WrongSequence:
                continue
        await asyncio.sleep(_POLL_S)


async def stored_at(link: NatsLink, stream: str, sequence: int, timeout_s: float = _API_TIMEOUT_S) -> str | None:
    """When NATS stored the message with this sequence; None if it is not retained. Raises `NatsAway`."""
    query = msgspec.json.encode({"seq": sequence})
    headers, _ = await link.request(subjects.direct_get(stream), query, timeout_s=timeout_s)
    if status(headers) == 404:
        return None
    if status(headers):
        raise NatsAway(f"reading stream {stream}: {(headers or b'')[9:80].decode(errors='replace').strip()}")
    return (header(headers, b"Nats-Time-Stamp") or b"").decode(errors="replace")
