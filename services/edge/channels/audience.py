"""The subscribers of one channel on this edge, in groups that are sent the same bytes, and the fan-out to them.

What is published in one turn of the event loop is encoded once and framed as one for each group, then written to all of
it in one synchronous loop: a write costs the kernel several times what everything else of a delivery costs, so under
load this is what counts. A group is a format, and whether its members get differences (Fossil deltas) or only some
publications (tags filters).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple, Protocol

from proto.codes import UnsubscribeCode
from proto.messages import ClientInfo, Publication, Push, Reply
from proto.publications import size_of
from services.edge.channels.pushes import Rendering, as_delta, render
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import Format

WAITING_BYTES: Final = 64 * 1024
WAITING_PUBLICATIONS: Final = 64
"""With as much as this waiting the turn is not waited for: a frame stays far below what SDKs take (1 MiB)."""


class Subscriber(Protocol):
    """What a channel knows of a connection."""

    format: Format

    def push(self, framed: bytes, subscription: Subscription, count: int) -> bool:
        """Takes a frame of `count` pushes, or notes that it cannot (False): never blocks, never raises."""

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


_Group = dict[Subscriber, Subscription]


class _Published(NamedTuple):
    """`previous` is the channel's publication before it, None where it is not known."""

    publication: Publication
    previous: Publication | None


def _at_once(flush: Callable[[], None]) -> None:
    flush()


class Audience:
    """See the module. `channel` is the name that pushes bear. `later` runs what it is given at the end of the turn.

    Whoever comes or is told something else finds everything given out that was published before. For one that goes its
    connection sees to that (`Node.give_out`), as some go in the middle of a fan-out, and one must not begin another:
    so whom a publication is too much for is told later, too.
    """

    __slots__ = ("_groups", "_later", "_waiting", "_waiting_bytes", "channel", "told")

    def __init__(self, channel: str, later: Callable[[Callable[[], None]], object] = _at_once) -> None:
        self.channel = channel
        self._later = later
        self._groups: dict[_Kind, _Group] = {}
        self._waiting: list[_Published] | None = None
        self._waiting_bytes = 0
        self.told = 0  # while something waits: the position before the first of it

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[tuple[Subscriber, Subscription]]:
        """A copy, as subscribers leave while others are told."""
        self.flush()
        return iter([item for group in self._groups.values() for item in group.items()])

    def add(self, subscriber: Subscriber, subscription: Subscription) -> None:
        self.flush()
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

    # --- publications ------------------------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether something was published that has not been given out yet."""
        return self._waiting is not None

    def fan_out(self, publication: Publication, previous: Publication | None, told: int = 0) -> None:
        """Gives a publication to all before this turn of the loop ends; `previous` is the one before it, if known.

        `told` is the channel's position before it, which is how far its subscribers have been told while it waits.
        """
        size = size_of(publication)
        waiting = self._waiting
        if waiting is not None and len(waiting) < WAITING_PUBLICATIONS and self._waiting_bytes + size <= WAITING_BYTES:
            waiting.append(_Published(publication, previous))
            self._waiting_bytes += size
            return
        self._waiting, self._waiting_bytes = [_Published(publication, previous)], size
        self.told = told  # before anything is written: who stalls in that is told so
        if waiting is None:
            self._later(self.flush)
        else:
            self._give_out(waiting)

    def flush(self) -> None:
        """Gives out what waits. Each subscriber gets it in one push: one that stalls in it has got all the same."""
        published, self._waiting = self._waiting, None
        if published is not None:
            self._give_out(published)

    def _give_out(self, published: list[_Published]) -> None:
        for kind, group in tuple(self._groups.items()):
            if kind.delta:
                self._give_deltas(kind.format, group, published)
            elif kind.filtered:
                self._give_filtered(kind.format, group, published)
            else:
                self._give_all(kind.format, group, published)

    def _give_all(self, format: Format, group: _Group, published: list[_Published]) -> None:
        framed, count, error = render(format, self.channel, [each.publication for each in published])
        if count:
            for subscriber, subscription in _copy(group):  # the hottest loop of an edge
                subscriber.push(framed, subscription, count)
        if error:
            for subscriber in group:
                self._refuse(subscriber, error)

    def _give_filtered(self, format: Format, group: _Group, published: list[_Published]) -> None:
        renderings: dict[tuple[bool, ...], Rendering] = {}
        for subscriber, subscription in _copy(group):
            wanted = tuple([subscription.wants(each.publication) for each in published])
            if not any(wanted):
                continue
            if wanted not in renderings:
                chosen = [each.publication for each, wants in zip(published, wanted, strict=True) if wants]
                renderings[wanted] = render(format, self.channel, chosen)
            self._give(subscriber, subscription, renderings[wanted])

    def _give_deltas(self, format: Format, group: _Group, published: list[_Published]) -> None:
        """As differences, to those that hold the publication before the first; others get that one whole."""
        renderings: dict[bool, Rendering] = {}
        for subscriber, subscription in _copy(group):
            has_base = subscription.has_base
            if has_base not in renderings:
                changes = _changes(format, published, has_base)
                renderings[has_base] = render(format, self.channel, changes)
            # A client that does not take it is brought up with whole publications, and starts again from those.
            subscription.has_base = self._give(subscriber, subscription, renderings[has_base])

    def _give(self, subscriber: Subscriber, subscription: Subscription, rendering: Rendering) -> bool:
        """Whether the subscriber took it all."""
        framed, count, error = rendering
        taken = subscriber.push(framed, subscription, count) if count else True
        if error:
            self._refuse(subscriber, error)
            return False
        return taken

    def _refuse(self, subscriber: Subscriber, error: str) -> None:
        self._later(partial(subscriber.cannot_take, error))

    # --- everything else ---------------------------------------------------------------------------------------------

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


def _copy(group: _Group) -> Iterator[tuple[Subscriber, Subscription]]:
    """A copy of a group: a write may end a connection, which leaves its group."""
    return zip(tuple(group), tuple(group.values()), strict=True)


def _changes(format: Format, published: list[_Published], has_base: bool) -> Iterator[Publication]:
    """Each as its difference to the one before it; the first one whole where that is not known to be held.

    Raises `NotEncodable`.
    """
    for publication, previous in published:
        yield as_delta(format, publication, previous if has_base else None)
        has_base = True
