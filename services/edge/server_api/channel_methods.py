"""The server API's methods on channels: publish, presence, history."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, Raw

from proto import codes
from proto.codec import payload
from proto.messages import NO_DATA, ClientInfo, Publication, StreamPosition
from proto.nesting import TooDeep
from proto.publications import MAX_EPOCH_LENGTH, Version, is_version_epoch
from services.edge.broker.broker import BrokerRefused
from services.edge.channel_settings import BINARY
from services.edge.channels.message_ids import of_backend
from services.edge.channels.namespaces import ChannelRules, Namespaces, check_length, check_name
from services.edge.channels.node import Node
from services.edge.rejection import Rejected, check_nesting
from services.edge.server_api.answers import (
    ChannelAnswer,
    ChannelsAnswer,
    ConnectionInfo,
    Empty,
    HistoryAnswer,
    KeptPublication,
    PresenceAnswer,
    PresenceStatsAnswer,
    PublishAnswer,
)
from services.edge.server_api.calls import (
    MAX_KEY_LENGTH,
    MAX_OFFSET,
    MAX_PATTERN_LENGTH,
    ChannelCall,
    ChannelsCall,
    HistoryCall,
    HistoryPosition,
    Publishing,
)

log = logging.getLogger(__name__)

_NULL: Final = Raw(b"null")
_BYTES_AT_ONCE: Final = 1024 * 1024
"""Bytes of a history that are checked to be JSON before the loop has its turn: about a millisecond."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A publication that was checked, with its idempotency key and version."""

    publication: Publication
    key: str
    version: Version | None
    skip_history: bool


class ChannelMethods:
    """The methods on channels. Methods raise `Rejected`, `BrokerAway`.

    `namespaces` returns the present namespaces; `max_length`: the most characters of a channel's name.
    """

    def __init__(self, node: Node, namespaces: Callable[[], Namespaces], max_length: int) -> None:
        self._node = node
        self._namespaces = namespaces
        self._max_length = max_length

    def rules(self, channel: str) -> ChannelRules:
        """The rules of the channel of this name. Raises `Rejected` for a name that is not allowed."""
        check_length(channel, self._max_length)
        rules = self._namespaces().rules(channel)
        check_name(channel, rules)
        return rules

    # --- publish -----------------------------------------------------------------------------------------------------

    async def publish(self, channel: str, what: Prepared, key_age_s: float = 0.0) -> PublishAnswer:
        """Publishes; returns once the publication is stored or, without history, once NATS has it.

        The next call of the same backend may come by another edge, and must not overtake this one. `key_age_s`: seconds
        since a publication with its key may first have been sent. Raises `Rejected` (112) if it cannot be known any
        more whether that was published.
        """
        rules = self.rules(channel)
        self.check_data(what, [channel])
        if what.version is not None and not rules.has_history:
            raise Rejected(codes.NOT_AVAILABLE, "versions need a channel with history")
        message_id = of_backend(channel, what.key) if what.key else ""
        try:
            if key_age_s and message_id:
                found = await self._node.history.find_key(channel, rules, message_id, key_age_s, what.skip_history)
                if found is not None:
                    return PublishAnswer(found.offset, found.epoch)
            position = await self._node.publish(
                channel, rules, what.publication, message_id, what.version, what.skip_history, confirm=True
            )
        except BrokerRefused as error:
            raise Rejected(codes.LIMIT_EXCEEDED, hint=str(error)) from None
        return PublishAnswer(position.offset, position.epoch) if position is not None else PublishAnswer()

    def check_data(self, what: Prepared, channels: Iterable[str]) -> None:
        """Raises `Rejected` for an empty payload, unless one of these channels has binary data."""
        if not bytes(what.publication.data) and not any(map(self._takes_empty, channels)):
            raise Rejected(codes.BAD_REQUEST, "expected data")

    def _takes_empty(self, channel: str) -> bool:
        try:
            return self.rules(channel).options.publication_data_format == BINARY
        except Rejected:
            return False

    # --- presence ----------------------------------------------------------------------------------------------------

    async def presence(self, call: ChannelCall) -> PresenceAnswer:
        """The clients in a channel."""
        self._check_presence(call.channel)
        members = await self._node.presence.members(call.channel)
        return PresenceAnswer({client: _member(info) for client, info in members.items()})

    async def presence_stats(self, call: ChannelCall) -> PresenceStatsAnswer:
        """How many clients and users are in a channel."""
        self._check_presence(call.channel)
        stats = await self._node.presence.stats(call.channel)
        return PresenceStatsAnswer(stats.num_clients, stats.num_users)

    def _check_presence(self, channel: str) -> None:
        if not self.rules(channel).options.presence:
            raise Rejected(codes.NOT_AVAILABLE, "the channel has no presence")

    async def channels(self, call: ChannelsCall) -> ChannelsAnswer:
        """The channels with subscribers that match a pattern."""
        if len(call.pattern) > MAX_PATTERN_LENGTH:
            raise Rejected(codes.BAD_REQUEST, f"expected a pattern of at most {MAX_PATTERN_LENGTH} characters")
        found = await self._node.presence.active_channels(call.pattern)
        return ChannelsAnswer({channel: ChannelAnswer(count) for channel, count in found.items()})

    # --- history -----------------------------------------------------------------------------------------------------

    async def history(self, call: HistoryCall) -> HistoryAnswer:
        """A page of a channel's history."""
        rules = self._rules_with_history(call.channel)
        since = position_of(call.since)
        if call.reverse and since is not None and not since.offset:
            raise Rejected(codes.BAD_REQUEST, "expected since with an offset above 0, as nothing comes before it")
        size = rules.options.history_size
        limit = size if call.limit < 0 else min(call.limit, size)
        found = await self._node.history.read(call.channel, rules, limit, since, call.reverse)
        publications: list[KeptPublication] = []
        unchecked = 0
        for publication in found.publications:
            publications.append(_kept(publication))
            unchecked += len(bytes(publication.data))
            if unchecked > _BYTES_AT_ONCE:
                unchecked = 0
                await asyncio.sleep(0)
        return HistoryAnswer(publications, found.top.epoch, found.top.offset)

    async def history_remove(self, call: ChannelCall) -> Empty:
        """Removes a channel's history."""
        await self._node.history.remove(call.channel, self._rules_with_history(call.channel))
        return Empty()

    def _rules_with_history(self, channel: str) -> ChannelRules:
        rules = self.rules(channel)
        if not rules.has_history:
            raise Rejected(codes.NOT_AVAILABLE, "the channel has no history")
        return rules


def position_of(given: HistoryPosition | None) -> StreamPosition | None:
    """The position that a call names. Raises `Rejected`."""
    if given is None:
        return None
    if given.offset > MAX_OFFSET:
        raise Rejected(codes.BAD_REQUEST, f"expected an offset of at most {MAX_OFFSET}")
    return StreamPosition(given.offset, given.epoch)


def prepare(call: Publishing) -> Prepared:
    """Checks what is to be published, to whichever channel. Raises `Rejected`."""
    if len(call.idempotency_key) > MAX_KEY_LENGTH:
        raise Rejected(codes.BAD_REQUEST, f"expected an idempotency_key of at most {MAX_KEY_LENGTH} characters")
    if not is_version_epoch(call.version_epoch):
        raise Rejected(
            codes.BAD_REQUEST, f"expected a printable version_epoch of at most {MAX_EPOCH_LENGTH} characters"
        )
    version = Version(call.version, call.version_epoch) if call.version else None
    if version is not None and call.skip_history:
        raise Rejected(
            codes.BAD_REQUEST, "expected version or skip_history, not both: a version is compared with the history"
        )
    return Prepared(
        Publication(data=_data_of(call), tags=call.tags or None), call.idempotency_key, version, call.skip_history
    )


def _data_of(call: Publishing) -> Raw:
    """What is to be published; empty if the call has no data. Raises `Rejected`."""
    if call.b64data:
        try:
            data = base64.b64decode(call.b64data, validate=True)
        except (binascii.Error, ValueError):
            raise Rejected(codes.BAD_REQUEST, "b64data is not base64") from None
        if data:
            check_nesting(Raw(data))
            return Raw(data)
    if not bytes(call.data):
        return NO_DATA  # allowed if the namespace has binary data
    try:
        return payload(bytes(call.data))
    except TooDeep as error:
        raise Rejected(codes.BAD_REQUEST, str(error)) from None
    except ValueError as error:
        raise Rejected(codes.BAD_REQUEST, f"data is {error}") from None


def _member(info: ClientInfo) -> ConnectionInfo:
    return ConnectionInfo(
        user=None if info.user is UNSET else info.user,
        client=None if info.client is UNSET else info.client,
        conn_info=info.conn_info if bytes(info.conn_info) else UNSET,
        chan_info=info.chan_info if bytes(info.chan_info) else UNSET,
    )


def _kept(publication: Publication) -> KeptPublication:
    b64data = ""
    try:
        data = payload(bytes(publication.data))
    except ValueError:  # a Protobuf client, or a backend that publishes on NATS, may send any bytes
        data, b64data = _NULL, base64.b64encode(bytes(publication.data)).decode()
    info = None if publication.info is None else _member(publication.info)
    return KeptPublication(data=data, b64data=b64data, offset=publication.offset, info=info, tags=publication.tags)
