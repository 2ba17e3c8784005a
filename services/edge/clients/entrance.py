"""A client enters its channels: what it is told of them, and what is noted when it has been told.

Each function is one step without any await. The subscriber was attached in the same step (see `Node.subscribe`), and
nothing may be pushed to it before its reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from proto.codec import NotEncodable
from proto.messages import StreamPosition
from proto.replies import Connect, Push, Reply, SubscribeResult, reply_to
from services.edge.channels.encoding import as_deltas
from services.edge.clients.actions import AttachRequest, Connected
from services.edge.clients.laggard import REPLY_BYTES, first_of

if TYPE_CHECKING:
    from services.edge.clients.connection import Connection


def subscribed(connection: Connection, attach_request: AttachRequest, result: SubscribeResult) -> None:
    """Tells the client that its subscribe succeeded; one that has left meanwhile leaves the channel."""
    if connection.closing:
        connection.context.node.unsubscribe(connection, attach_request.channel)
        return
    subs, positions = cut({attach_request.channel: enter(connection, attach_request, result)})
    connection.reply(reply_to(attach_request.command_id, subs[attach_request.channel]))
    if positions:
        connection.lags_at(positions)
    connection.entered(attach_request.channel, attach_request.subscription, result)


def enter(connection: Connection, attach_request: AttachRequest, result: SubscribeResult) -> SubscribeResult:
    """Notes the subscription; gives back the result with publications as this client gets them."""
    subscription = attach_request.subscription
    connection.client.channels[attach_request.channel] = subscription
    connection.context.subscriptions += 1
    if connection.laggard is not None:
        connection.laggard.joined(attach_request.channel, connection.context.node.position(attach_request.channel))
    if not result.publications:
        return result
    publications = [publication for publication in result.publications if subscription.wants(publication)]
    if subscription.delta:
        try:
            publications = as_deltas(connection.format, publications)
        except NotEncodable as error:
            connection.encoding_failed(str(error))
            return replace(result, publications=[])
        subscription.has_base = bool(publications)
    return replace(result, publications=publications)


def connect_reply(connection: Connection, action: Connected, subs: dict[str, SubscribeResult]) -> Reply:
    """The reply to a connect, as the transport says it."""
    node = connection.context.instance if connection.session else ""
    result = replace(action.result, subs=subs, session=connection.session, node=node)
    if connection.format.unidirectional:
        return Reply(push=Push(connect=Connect(**{name: getattr(result, name) for name in result.__struct_fields__})))
    return reply_to(action.command_id, result)


def cut(results: dict[str, SubscribeResult]) -> tuple[dict[str, SubscribeResult], dict[str, StreamPosition]]:
    """Results that fit into one reply, and how far they bring the client in the channels where that is not all."""
    cut: dict[str, SubscribeResult] = {}
    positions: dict[str, StreamPosition] = {}
    room = REPLY_BYTES
    for channel, result in results.items():
        # Without room a recovery begins with the pushes: the client is where it was, at the offset of the result.
        none = (
            not room
            and result.recovered
            and bool(result.publications)
            and result.offset < result.publications[0].offset
        )
        first, room = ([], 0) if none else first_of(result.publications, room)
        if len(first) < len(result.publications):
            positions[channel] = StreamPosition(first[-1].offset if first else result.offset, result.epoch)
            result = replace(result, publications=first)
        cut[channel] = result
    return cut, positions
