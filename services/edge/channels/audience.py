"""The subscribers of one channel on this edge, in groups that are sent the same bytes, and the fan-out to them.

A publication is encoded once and framed once for each group, then written to all of it in one synchronous loop. A
group is a format, and whether its members get differences (Fossil deltas) or only some publications (tags filters).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from proto.codec import NotEncodable, payload
from proto.codec_json import JSON
from proto.codes import UnsubscribeCode
from proto.fossil import create_delta, create_text_delta
from proto.messages import ClientInfo, Publication, Push, Reply
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import Format

_encode_text = msgspec.json.Encoder().encode


class Subscriber(Protocol):
    """What a channel knows of a connection."""

    format: Format

    def push(self, framed: bytes, subscription: Subscription) -> bool:
        """Takes one framed push, or notes that it cannot (False): never blocks, never raises."""

    def tell(self, channel: str, framed: bytes) -> None:
        """Takes one framed join or leave. Unlike a publication it is in no log: one that cannot be taken now waits."""

    def cannot_take(self, why: str) -> None:
        """Tells the client that a publication cannot be said in its encoding: the end of the connection."""

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        """Tells the client that the server ended its subscription."""


class _Kind(NamedTuple):
    format: Format
    delta: bool
    filtered: bool


class Audience:
    """See the module. `channel` is the name that pushes bear."""

    __slots__ = ("_groups", "channel")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self._groups: dict[_Kind, dict[Subscriber, Subscription]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[tuple[Subscriber, Subscription]]:
        """A copy, as subscribers leave while others are told."""
        return iter([item for group in self._groups.values() for item in group.items()])

    def add(self, subscriber: Subscriber, subscription: Subscription) -> None:
        kind = _Kind(subscriber.format, subscription.delta, subscription.filter is not None)
        self._groups.setdefault(kind, {})[subscriber] = subscription

    def remove(self, subscriber: Subscriber) -> Subscription | None:
        """The subscription that it had, None for none."""
        for kind, group in self._groups.items():
            subscription = group.pop(subscriber, None)
            if subscription is not None:
                if not group:
                    del self._groups[kind]
                return subscription
        return None

    def get(self, subscriber: Subscriber) -> Subscription | None:
        return next((group[subscriber] for group in self._groups.values() if subscriber in group), None)

    def members(self) -> dict[str, ClientInfo]:
        """Who is here, by client id."""
        found: dict[str, ClientInfo] = {}
        for group in self._groups.values():
            for subscription in group.values():
                member = subscription.member
                if member is not None and isinstance(member.client, str):
                    found[member.client] = member
        return found

    def fan_out(self, publication: Publication, previous: Publication | None) -> None:
        """Gives a publication to all; `previous` is the one before it, where it is known."""
        for kind, group in tuple(self._groups.items()):
            # Copies of the groups: a write may end a connection, which leaves its group.
            try:
                if kind.delta:
                    self._fan_out_delta(kind.format, group, publication, previous)
                elif kind.filtered:
                    self._fan_out_filtered(kind.format, group, publication)
                else:
                    framed = publication_frame(kind.format, self.channel, publication)
                    for subscriber, subscription in tuple(group.items()):
                        subscriber.push(framed, subscription)
            except NotEncodable as error:
                for subscriber in tuple(group):
                    subscriber.cannot_take(str(error))

    def _fan_out_filtered(
        self, format: Format, group: dict[Subscriber, Subscription], publication: Publication
    ) -> None:
        wanting = [item for item in group.items() if item[1].wants(publication)]
        if not wanting:
            return
        try:
            framed = publication_frame(format, self.channel, publication)
        except NotEncodable as error:
            for subscriber, _ in wanting:  # the others need not take it
                subscriber.cannot_take(str(error))
            return
        for subscriber, subscription in wanting:
            subscriber.push(framed, subscription)

    def _fan_out_delta(
        self,
        format: Format,
        group: dict[Subscriber, Subscription],
        publication: Publication,
        previous: Publication | None,
    ) -> None:
        framed = publication_frame(format, self.channel, as_delta(format, publication, None))
        patched = framed
        if previous is not None and any(subscription.has_base for subscription in group.values()):
            patched = publication_frame(format, self.channel, as_delta(format, publication, previous))
        for subscriber, subscription in tuple(group.items()):
            # A client that does not take it is brought up with whole publications, and starts again from those.
            subscription.has_base = subscriber.push(patched if subscription.has_base else framed, subscription)

    def fan_out_members(self, push: Push) -> None:
        """Gives a join or a leave to those who get them."""
        framed: dict[Format, bytes] = {}
        for subscriber, subscription in self:
            if subscription.pushes_join_leave:
                format = subscriber.format
                if format not in framed:
                    framed[format] = format.frame([format.encode(Reply(push=push))])
                subscriber.tell(self.channel, framed[format])

    def forget_bases(self) -> None:
        """Nobody is known any more to hold the previous publication."""
        for _, subscription in self:
            subscription.has_base = False


def publication_frame(format: Format, channel: str, publication: Publication) -> bytes:
    """The push of one publication, framed. Raises `NotEncodable`."""
    return format.frame([format.encode(Reply(push=Push(channel=channel, pub=publication)))])


def as_delta(format: Format, publication: Publication, previous: Publication | None) -> Publication:
    """A publication as subscribers with deltas get it: its difference to `previous` if that is smaller, else whole.

    On JSON either is a string that holds the text. Raises `NotEncodable`.
    """
    data = bytes(publication.data)
    if format.codec is JSON:
        try:
            payload(data)  # the text itself is passed on, line breaks included: the next difference counts from it
        except ValueError as error:
            raise NotEncodable(str(error)) from None
        patch = None if previous is None else create_text_delta(bytes(previous.data), data)
        text = data if patch is None or len(patch) >= len(data) else patch
        return replace(publication, data=Raw(_encode_text(text.decode())), delta=text is not data)
    patch = None if previous is None else create_delta(bytes(previous.data), data)
    if patch is None or len(patch) >= len(data):
        return publication
    return replace(publication, data=Raw(patch), delta=True)


def as_deltas(format: Format, publications: list[Publication]) -> list[Publication]:
    """Recovered publications for a subscriber with deltas: the first whole, each other against its predecessor."""
    before: list[Publication | None] = [None, *publications]
    return [as_delta(format, each, previous) for each, previous in zip(publications, before, strict=False)]
