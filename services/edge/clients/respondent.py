"""What this edge answers to the others (and to itself): who is here, and what backends order for connections here."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import DecodeError, json

from proto.codes import CloseCode, UnsubscribeCode
from proto.control import (
    ActiveChannels,
    ChannelsFound,
    ControlAnswer,
    ControlRequest,
    CountMembers,
    DisconnectUser,
    Done,
    Emulate,
    Members,
    MembersCounted,
    MembersFound,
    Probe,
    RefreshUser,
    Selector,
    SendUser,
    SubscribeUser,
    Unknown,
    UnsubscribeUser,
)
from proto.messages import StreamPosition
from services.edge.clients.connection import Connection
from services.edge.clients.context import EdgeContext
from services.edge.clients.orders import MessageOrder, Order, RefreshOrder, SubscribeOrder, UnsubscribeOrder
from services.edge.grants import Grant

_decode_grant = json.Decoder(Grant).decode


class Respondent:
    """See the module. Everything is answered at once: orders stand in line behind what each connection is busy with."""

    def __init__(self, context: EdgeContext) -> None:
        self._context = context

    def answer(self, request: ControlRequest) -> ControlAnswer:
        node = self._context.node
        match request:
            case Probe():
                return Done()
            case Members(channel):
                return MembersFound(node.presence.members_here(channel))
            case CountMembers(channel):
                members = node.presence.members_here(channel)
                return MembersCounted(len(members), sorted({str(member.user or "") for member in members.values()}))
            case ActiveChannels(pattern):
                return ChannelsFound(node.presence.channels_here(pattern))
            case SubscribeUser():
                return self._subscribe(request)
            case UnsubscribeUser(to, channel, code, reason):
                return self._order(to, UnsubscribeOrder(channel, UnsubscribeCode(code, reason)))
            case RefreshUser(to, expired=True):
                return self._close(to, CloseCode(3005, "connection expired"))
            case RefreshUser(to, _, expire_at, info):
                return self._order(to, RefreshOrder(expire_at, info))
            case SendUser(to, data):
                return self._order(to, MessageOrder(data))
            case DisconnectUser(to, code, reason):
                return self._close(to, CloseCode(code, reason))
            case Emulate(session, data):
                connection = self._context.streams.get(session)
                if connection is None or connection.format.unidirectional:
                    return Unknown()
                connection.message_received(data)
                return Done(1)

    def _subscribe(self, request: SubscribeUser) -> ControlAnswer:
        try:
            grant = _decode_grant(bytes(request.grant) or b"{}")
        except DecodeError:
            return Unknown()
        since = StreamPosition(request.recover_offset, request.recover_epoch) if request.recover else None
        return self._order(request.to, SubscribeOrder(request.channel, grant, since))

    def _order(self, to: Selector, order: Order) -> Done:
        chosen = list(self._chosen(to))
        for connection in chosen:
            connection.obey(order)
        return Done(len(chosen))

    def _close(self, to: Selector, close: CloseCode) -> Done:
        chosen = list(self._chosen(to))
        for connection in chosen:
            connection.close(close)
        return Done(len(chosen))

    def _chosen(self, to: Selector) -> Iterator[Connection]:
        for connection in self._context.users.of(to.user):
            if (
                to.client in ("", connection.client.id)
                and to.session in ("", connection.session)
                and connection.client.id not in to.whitelist
            ):
                yield connection
