"""Whether a stream is still the one that it was: its metadata, and the time of one of its messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, header, status
from services.chassis.nats.streams import StreamState, state_of

_API_TIMEOUT_S: Final = 5.0


async def change_metadata(
    link: NatsLink, name: str, change: Callable[[StreamState], dict[str, str] | None]
) -> StreamState:
    """Adds to the metadata of a stream what `change` makes of its state; None changes nothing.

    JetStream reads the metadata before the sequences: of two callers at once, neither sees sequences that were reached
    after the other's change. Raises `NatsAway`, `NatsRefused`.
    """
    manager = link.stream_manager(_API_TIMEOUT_S)
    try:
        info = await manager.stream_info(name)
        changes = change(state_of(info))
        if changes is not None:
            metadata = {**(info.config.metadata or {}), **changes}
            info = await manager.update_stream(replace(info.config, metadata=metadata))
        return state_of(info)
    except APIError as error:
        raise NatsRefused(f"stream {name}: {error.description}") from None
    except (NatsError, TimeoutError) as error:
        raise NatsAway(f"the metadata of stream {name}: {error}") from None


async def stored_at(link: NatsLink, stream: str, sequence: int, timeout_s: float = _API_TIMEOUT_S) -> str | None:
    """NATS's time of the message of this sequence; None if it is not retained. Raises `NatsAway`."""
    query = msgspec.json.encode({"seq": sequence})
    headers, _ = await link.request(subjects.direct_get(stream), query, timeout_s=timeout_s)
    if status(headers) == 404:
        return None
    if status(headers):
        raise NatsAway(f"reading stream {stream}: {(headers or b'')[9:80].decode(errors='replace').strip()}")
    return (header(headers, b"Nats-Time-Stamp") or b"").decode(errors="replace")
