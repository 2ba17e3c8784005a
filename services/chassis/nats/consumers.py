"""The durable consumers of a stream, and how far they have read it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.nats.streams import API_TIMEOUT_S, ApiError, raised


class Consumer(NamedTuple):
    """A durable consumer. `acknowledged`: the sequence up to which it has acknowledged everything; `waiting`: how many
    messages it has still to get, or to acknowledge."""

    name: str
    acknowledged: int
    waiting: int

    def has_read(self, sequence: int) -> bool:
        """Whether it has acknowledged all messages up to this one that it was made for.

        One with a filter, or after messages that were deleted, may have acknowledged a lower one as its last.
        """
        return self.acknowledged >= sequence or not self.waiting


class _Config(msgspec.Struct, frozen=True):
    durable_name: str = ""


class _Acknowledged(msgspec.Struct, frozen=True):
    stream_seq: int = 0


class _Info(msgspec.Struct, frozen=True):
    name: str = ""
    config: _Config = _Config()
    ack_floor: _Acknowledged = _Acknowledged()
    num_ack_pending: int = 0
    num_pending: int = 0


class _Page(msgspec.Struct):
    total: int = 0
    consumers: list[_Info] | None = None
    missing: list[str] | None = None  # of a cluster: those whose servers did not answer in time, or are down
    error: ApiError | None = None


_decode = msgspec.json.Decoder(_Page).decode


async def durable_consumers(link: NatsLink, stream: str) -> list[Consumer]:
    """All of them. One whose servers do not answer is among them, as one that has read nothing; it may not be durable.
    Raises `NatsAway`, `NatsRefused`."""
    found: list[Consumer] = []
    offset = 0
    while True:
        query = msgspec.json.encode({"offset": offset})
        _, reply = await link.request(subjects.consumer_list(stream), query, timeout_s=API_TIMEOUT_S)
        try:
            page = _decode(reply)
        except msgspec.DecodeError:
            raise NatsAway(f"the reply with the consumers of stream {stream} is not JetStream's") from None
        if page.error is not None:
            raise raised(f"the consumers of stream {stream}", page.error)
        # One whose servers are down is also told without its name, and as if nothing waited for it.
        told, missing = [each for each in page.consumers or [] if each.name], page.missing or []
        found += [
            Consumer(each.name, each.ack_floor.stream_seq, each.num_pending + each.num_ack_pending)
            for each in told
            if each.config.durable_name
        ]
        found += [Consumer(name, 0, 1) for name in missing]
        offset += len(told) + len(missing)
        if not (told or missing) or offset >= page.total:
            return found
