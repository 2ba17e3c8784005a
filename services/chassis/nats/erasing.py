"""Deletes single messages of JetStream streams so that their bytes are gone from its files too."""

from __future__ import annotations

import msgspec

from proto import subjects
from services.chassis.nats.link import NatsLink, NatsRefused
from services.chassis.nats.stream_reads import StoredMessage, read_stream
from services.chassis.nats.streams import API_TIMEOUT_S, NOT_NOW, ApiError, raised


class _Answer(msgspec.Struct):
    error: ApiError | None = None


_decode = msgspec.json.Decoder(_Answer).decode


async def erase(link: NatsLink, stream: str, sequence: int) -> bool:
    """Deletes a message and overwrites it; False if it was already gone. Raises `NatsAway`, `NatsRefused`."""
    query = msgspec.json.encode({"seq": sequence, "no_erase": False})
    _, answer = await link.request(subjects.message_delete(stream), query, timeout_s=API_TIMEOUT_S)
    try:
        error = _decode(answer).error
    except msgspec.DecodeError:
        raise NatsRefused(f"the reply to a deletion in stream {stream} is not JetStream's") from None
    if error is None:
        return True
    if error.err_code not in NOT_NOW and await message_at(link, stream, sequence) is None:
        return False
    raise raised(f"stream {stream}", error)


async def message_at(link: NatsLink, stream: str, sequence: int) -> StoredMessage | None:
    """The message with this sequence, None if it is gone. Raises `NatsAway`."""
    found, _ = await read_stream(link, stream, sequence, 1)
    return next((message for message in found if message.sequence == sequence), None)
