"""Which edge of the local stack to start or to stop, one at a time. Pure: it does no I/O, and time is an argument.

The metrics service decides how many edges to run; its number rises at once and falls late. Here that number is carried
out with care: an edge stops only while all others serve and none drains, and only after fewer edges have been
recommended for a while; an unknown number changes nothing. Edges start from the lowest number and stop from the
highest, because the youngest edge has the fewest clients, and clients stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, NamedTuple

FEWER_FOR_S: Final = 10.0
"""How long fewer edges must have been recommended, without a break, before one stops."""

START_WITHIN_S: Final = 30.0
"""If an edge is not ready this long after its start, the next one is no longer delayed."""

RETRY_S: Final = 60.0
"""How long to wait before an edge that does not stay up is started once more. Meanwhile another one runs."""


class EdgeState(StrEnum):
    """The state of one edge. `waiting`: it runs but takes no clients, as it starts, or for the reason that its
    `/readyz` gives. `failed`: it does not stay up."""

    stopped = "stopped"
    waiting = "waiting"
    ready = "ready"
    draining = "draining"
    failed = "failed"


class Change(NamedTuple):
    """What to do with one edge, and why, in a sentence for the log."""

    action: Literal["start", "stop"]
    edge: int
    reason: str


class Scaling:
    """Decides for `least` to `most` edges. Times are of any monotonic clock, in seconds."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._fewer_since: float | None = None
        self._started: dict[int, float] = {}

    def decide(self, now: float, recommended: int | None, edges: Mapping[int, EdgeState]) -> Change | None:
        """The next change, or None. `recommended` is None while it is unknown; `edges` are all edges that may run."""
        running = [edge for edge in sorted(edges) if edges[edge] in (EdgeState.waiting, EdgeState.ready)]
        wanted = self.bounded(len(running) if recommended is None else recommended)
        if len(running) <= wanted:
            self._fewer_since = None
            return self._more(now, wanted, edges, running)
        if any(edges[edge] is EdgeState.waiting for edge in running) or EdgeState.draining in edges.values():
            self._fewer_since = None  # wait until all serve: clients of the last drain are then connected again
        elif self._fewer_since is None:
            self._fewer_since = now
        elif now - self._fewer_since >= FEWER_FOR_S:
            self._fewer_since = None
            return Change("stop", running[-1], f"edges running: {len(running)}, needed: {wanted}")
        return None

    def bounded(self, count: int) -> int:
        """`count`, within the bounds."""
        return min(max(count, self._least), self._most)

    def _more(self, now: float, wanted: int, edges: Mapping[int, EdgeState], running: list[int]) -> Change | None:
        if len(running) == wanted or any(self._is_starting(now, edge, edges[edge]) for edge in running):
            return None
        stopped = [edge for edge in sorted(edges) if edges[edge] is EdgeState.stopped]
        failed = [edge for edge in sorted(edges) if edges[edge] is EdgeState.failed and self._may_retry(now, edge)]
        for edge in (*stopped, *failed):
            self._started[edge] = now
            return Change("start", edge, f"edges running: {len(running)}, needed: {wanted}")
        return None

    def _is_starting(self, now: float, edge: int, state: EdgeState) -> bool:
        return state is EdgeState.waiting and edge in self._started and now - self._started[edge] < START_WITHIN_S

    def _may_retry(self, now: float, edge: int) -> bool:
        return edge not in self._started or now - self._started[edge] >= RETRY_S
