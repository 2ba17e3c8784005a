"""Joins, leaves and changes of members of a channel, which edges publish to each other on `mem.<channel>`. JSON,
internal to one cluster.

They are delivered at most once. A reader that must not miss any event also asks the edges for their members, see
`proto.control.Members`.
"""

from __future__ import annotations

from msgspec import Struct, json

from proto.json_decoder import JsonDecoder
from proto.messages import ClientInfo


class Joined(Struct, frozen=True, tag_field="event", tag="joined"):
    """A client subscribed to the channel on the edge with the instance `edge`."""

    edge: str
    info: ClientInfo


class Left(Struct, frozen=True, tag_field="event", tag="left"):
    """A client is no longer subscribed to the channel on the edge with the instance `edge`."""

    edge: str
    info: ClientInfo


class Changed(Struct, frozen=True, tag_field="event", tag="changed"):
    """What others see of a member on the edge with the instance `edge` has changed. Clients are not informed."""

    edge: str
    info: ClientInfo


MemberEvent = Joined | Left | Changed

encode_member_event = json.Encoder().encode
_decoder: JsonDecoder[MemberEvent] = JsonDecoder(MemberEvent)


def decode_member_event(data: bytes) -> MemberEvent:
    """The event in a message. Raises msgspec.DecodeError for anything else."""
    return _decoder.decode(data)
