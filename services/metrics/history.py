"""What the history keeps, and the interface of its store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from services.metrics.minutes import Minute

HOUR_S = 3600


class Hour(NamedTuple):
    """One hour of an edge, or of the whole cluster. `mean` has the means of its minutes; `high` is the same, but with
    the 95th percentile of what makes load: connections, rates, CPU. `minutes` is how many minutes there were, at most
    60."""

    hour: int  # Unix time at its beginning, in seconds
    minutes: int
    mean: Minute
    high: Minute


class History(Protocol):
    """Minutes and hours of all edges. Every method raises `StoreAway`; all of them may be repeated without harm, even
    by several instances at once."""

    async def write(self, minutes: Sequence[Minute]) -> None:
        """Keeps minutes. Of two versions of a minute the fuller one stays: the one that was heard for more seconds."""
        ...

    async def tidy(self, now: float) -> int:
        """Sums minutes up to hours, and drops what is too old. `now` is Unix time. Returns how many partitions it
        dropped."""
        ...

    async def hours(self, since: float, *, whole: bool, limit: int) -> list[Hour]:
        """The newest `limit` hours that began at `since` (Unix time) or later, oldest first: of the whole cluster, or
        of single edges."""
        ...
