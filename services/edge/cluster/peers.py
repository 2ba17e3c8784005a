"""Requests to the other edges. Implementations: `peers_nats`, `peers_memory`, both held to `tests/contract/peers.py`.

Only an edge itself knows what it holds (connections, members of channels), so it has to be asked; for the whole picture
all edges are asked. The answer is complete, or the request fails, as it does if a living edge stays silent. An edge
that is gone holds no clients, and is left out as soon as that is certain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol, TypeVar

from proto.control import ChannelsFound, ControlAnswer, ControlRequest, MembersCounted, MembersFound
from proto.trace_context import TraceContext

T = TypeVar("T")

ASK_TIMEOUT_S: Final = 2.0
"""Below the 5 s after which SDKs give up on a command, and below the time that a silent edge needs to be lost."""

Responder = Callable[[ControlRequest, TraceContext | None], Awaitable[ControlAnswer] | ControlAnswer]
"""Answers the requests of other edges, at once or as an awaitable. Its second argument is the cause of the request, if
it is traced."""


class PeerGone(Exception):
    """There is no such edge, or no longer: no client is connected there."""


class PeersAway(Exception):
    """No complete answer: NATS is unavailable, or a living edge is silent. A later request may succeed."""


class Peers(Protocol):
    """All living edges of the cluster, this one included. It answers its own requests without NATS.

    The active span (`ACTIVE`) travels with a request.
    """

    @property
    def instance(self) -> str:
        """The instance of this edge."""

    async def ask(self, instance: str, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> ControlAnswer:
        """The answer of one edge. Raises `PeerGone`, `PeersAway`."""

    async def ask_all(self, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> list[ControlAnswer]:
        """The answers of all living edges, this one's first.

        Leaves out an edge that turns out to be gone, or is lost while its answer is awaited. Raises `PeersAway` if any
        other edge does not answer. An edge of an older version may answer `Unknown`.
        """


# --- answers that are too large for one message ---------------------------------------------------------------------


def parts(answer: ControlAnswer, most: int) -> Iterator[ControlAnswer]:
    """The answer in one or more pieces of at most `most` entries each; `merge` joins them again."""
    if isinstance(answer, MembersFound) and len(answer.members) > most:
        for piece in _slices(answer.members.items(), most):
            yield MembersFound(dict(piece))
    elif isinstance(answer, ChannelsFound) and len(answer.channels) > most:
        for counts in _slices(answer.channels.items(), most):
            yield ChannelsFound(dict(counts))
    elif isinstance(answer, MembersCounted) and len(answer.users) > most:
        clients = answer.clients
        for names in _slices(answer.users, most):
            yield MembersCounted(clients, names)
            clients = 0
    else:
        yield answer


def merge(pieces: Sequence[ControlAnswer]) -> ControlAnswer:
    """The answer that was split into `pieces`. Raises ValueError if they do not belong together, or there are none."""
    if len(pieces) == 1:
        return pieces[0]
    members = [piece.members for piece in pieces if isinstance(piece, MembersFound)]
    if 0 < len(members) == len(pieces):
        return MembersFound({client: info for piece in members for client, info in piece.items()})
    channels = [piece.channels for piece in pieces if isinstance(piece, ChannelsFound)]
    if 0 < len(channels) == len(pieces):
        return ChannelsFound({channel: count for piece in channels for channel, count in piece.items()})
    counts = [piece for piece in pieces if isinstance(piece, MembersCounted)]
    if 0 < len(counts) == len(pieces):
        return MembersCounted(
            sum(piece.clients for piece in counts), [user for piece in counts for user in piece.users]
        )
    raise ValueError(f"one answer of {', '.join(type(piece).__name__ for piece in pieces) or 'nothing'}")


def _slices(items: Iterable[T], most: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while piece := list(islice(iterator, most)):
        yield piece
