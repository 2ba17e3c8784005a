"""The server API's methods on users: server commands for their connections, on whichever edges those are.

Each edge queues the command behind those that a connection is busy with, and answers at once. A user without
connections is not an error.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Raw

from proto import codes
from proto.codes import CloseCode
from proto.control import (
    ControlRequest,
    DisconnectUser,
    Done,
    RefreshUser,
    Selector,
    SendUser,
    SubscribeUser,
    UnsubscribeUser,
)
from services.edge.cluster.peers import Peers
from services.edge.grants import Grant, Terms, grant_from, json_field
from services.edge.rejection import Rejected
from services.edge.server_api.answers import Empty
from services.edge.server_api.calls import (
    FIRST_CLOSE_CODE,
    LAST_CLOSE_CODE,
    CustomClose,
    DisconnectCall,
    RefreshCall,
    SendCall,
    SubscribeCall,
    UnsubscribeCall,
    UserCall,
)
from services.edge.server_api.channel_methods import ChannelMethods, position_of

_encode = msgspec.json.Encoder().encode


class UserMethods:
    """The methods on users. `now` gives Unix time in seconds. Methods raise `Rejected`, `PeersAway`."""

    def __init__(self, peers: Peers, channels: ChannelMethods, now: Callable[[], float]) -> None:
        self._peers = peers
        self._channels = channels
        self._now = now

    async def subscribe(self, call: SubscribeCall) -> Empty:
        """Subscribes the connections to a channel, recovering since a position if one is given."""
        self._channels.rules(call.channel)
        if call.expire_at and call.expire_at <= self._now():
            raise Rejected(codes.BAD_REQUEST, "expire_at has passed")
        since = position_of(call.recover_since)
        return await self._command(
            SubscribeUser(
                _selector(call),
                call.channel,
                Raw(_encode(_grant_of(call))),
                recover=since is not None,
                recover_offset=0 if since is None else since.offset,
                recover_epoch="" if since is None else since.epoch,
            )
        )

    async def unsubscribe(self, call: UnsubscribeCall) -> Empty:
        """Unsubscribes the connections from a channel, or from all."""
        if call.channel:
            self._channels.rules(call.channel)
        return await self._command(UnsubscribeUser(_selector(call), call.channel))

    async def disconnect(self, call: DisconnectCall) -> Empty:
        """Closes the connections."""
        close = _close_code(call.disconnect or CustomClose())
        return await self._command(DisconnectUser(_selector(call, call.whitelist), close.code, close.reason))

    async def refresh(self, call: RefreshCall) -> Empty:
        """Sets when the connections expire, or closes them as expired."""
        info = _json("info", call.info)
        return await self._command(RefreshUser(_selector(call), call.expired, call.expire_at, info))

    async def send(self, call: SendCall) -> Empty:
        """Sends a message to the connections."""
        data = _json("data", call.data, call.b64data)
        if not bytes(data):
            raise Rejected(codes.BAD_REQUEST, "expected data")
        return await self._command(SendUser(_selector(call), data))

    async def _command(self, request: ControlRequest) -> Empty:
        for answer in await self._peers.ask_all(request):
            if not isinstance(answer, Done):  # an edge of an older version
                raise Rejected(codes.INTERNAL, "an edge of an older version does not know this method")
        return Empty()


def _selector(call: UserCall, whitelist: list[str] | None = None) -> Selector:
    return Selector(call.user, call.client, call.session, whitelist or [])


def _grant_of(call: SubscribeCall) -> Grant:
    terms = Terms(call.info, call.b64info, call.data, call.b64data, call.override)
    try:
        return grant_from(terms, call.expire_at)
    except ValueError as error:
        raise Rejected(codes.BAD_REQUEST, str(error)) from None


def _json(name: str, plain: Raw, encoded: str = "") -> Raw:
    try:
        return json_field(name, plain, encoded)
    except ValueError as error:
        raise Rejected(codes.BAD_REQUEST, str(error)) from None


def _close_code(close: CustomClose) -> CloseCode:
    """Raises `Rejected` for a code or a reason that SDKs do not accept."""
    if not close.code and not close.reason:
        return codes.FORCE_DISCONNECT
    if not FIRST_CLOSE_CODE <= close.code <= LAST_CLOSE_CODE:
        raise Rejected(codes.BAD_REQUEST, f"expected a code of {FIRST_CLOSE_CODE} to {LAST_CLOSE_CODE}")
    try:
        codes.check_close_reason(close.reason)
    except ValueError as error:
        raise Rejected(codes.BAD_REQUEST, str(error)) from None
    return CloseCode(close.code, close.reason)
