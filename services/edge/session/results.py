"""Adapts subscribe results to a client: its tags filter, its deltas, and the size limit of a reply. Pure."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from proto.messages import Publication, StreamPosition
from proto.publications import size_of
from proto.replies import Connect as ConnectPush
from proto.replies import ConnectResult, Push, Reply, SubscribeResult, reply_to
from proto.replies import Subscribe as SubscribePush
from services.edge.channels.encoding import as_deltas
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import Format

REPLY_BYTES: Final = 512 * 1024
"""Bytes of publications in one reply, approximately. Some SDKs take frames of at most 1 MiB."""


def fitting(publications: list[Publication], room: int = REPLY_BYTES) -> tuple[list[Publication], int]:
    """The publications that fit into a reply with `room` bytes left (at least one), and the room that remains.

    The remaining room is 0 exactly if publications are left over.
    """
    for count, publication in enumerate(publications):
        room -= size_of(publication)
        if room < 0 and count:
            return publications[:count], 0
    return publications, max(room, 1)


def fit_into_reply(
    results: dict[str, SubscribeResult],
) -> tuple[dict[str, SubscribeResult], dict[str, StreamPosition]]:
    """The results with the publications that fit into one reply.

    Also returns the client's position in each channel that has more publications, which follow as pushes.
    """
    fitted: dict[str, SubscribeResult] = {}
    positions: dict[str, StreamPosition] = {}
    room = REPLY_BYTES
    for channel, result in results.items():
        if not room and _can_start_with_pushes(result):
            first: list[Publication] = []
        else:
            first, room = fitting(result.publications, room)
        if len(first) < len(result.publications):
            positions[channel] = StreamPosition(first[-1].offset if first else result.offset, result.epoch)
            result = replace(result, publications=first)
        fitted[channel] = result
    return fitted, positions


def _can_start_with_pushes(result: SubscribeResult) -> bool:
    """Whether pushes can continue from the client's own offset, which is the one in the result."""
    publications = result.publications
    return result.recovered and bool(publications) and result.offset < publications[0].offset


def tailored(format: Format, subscription: Subscription, result: SubscribeResult) -> SubscribeResult:
    """The result with the publications that this subscriber wants, as deltas if it receives deltas."""
    if not result.publications:
        return result
    publications = [publication for publication in result.publications if subscription.wants(publication)]
    if subscription.delta:
        publications, has_base = as_deltas(format, publications)
        subscription.delivered(has_base)
    return replace(result, publications=publications)


def connect_reply(format: Format, command_id: int, result: ConnectResult) -> Reply:
    """The reply to a connect; a unidirectional client gets it as a push."""
    if not format.unidirectional:
        return reply_to(command_id, result)
    fields = {name: getattr(result, name) for name in result.__struct_fields__}
    return Reply(push=Push(connect=ConnectPush(**fields)))


def subscribe_pushes(channel: str, result: SubscribeResult) -> list[Reply]:
    """The pushes for a subscription that the server made: the subscribe push, then the missed publications."""
    push = SubscribePush(result.recoverable, result.epoch, result.offset, result.positioned, result.data)
    return [
        Reply(push=Push(channel=channel, subscribe=push)),
        *(Reply(push=Push(channel=channel, pub=publication)) for publication in result.publications),
    ]
