"""A history in memory, which can be away."""

from __future__ import annotations

from collections.abc import Sequence

from services.chassis.postgres.errors import StoreAway
from services.metrics.history import Hour
from services.metrics.minutes import Minute


class MemoryHistory:
    """Keeps minutes by (minute, edge); `made` are the hours that it answers with."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], Minute] = {}
        self.made: list[Hour] = []
        self.tidied: list[float] = []
        self.away = False

    def _check(self) -> None:
        if self.away:
            raise StoreAway("PostgreSQL: away")

    async def write(self, minutes: Sequence[Minute]) -> None:
        self._check()
        self.rows |= {(one.minute, one.edge): one for one in minutes}

    async def tidy(self, now: float) -> int:
        self._check()
        self.tidied.append(now)
        return 0

    async def hours(self, since: float, *, whole: bool, limit: int) -> list[Hour]:
        self._check()
        return [one for one in self.made if one.hour >= since and (one.mean.edge == "") == whole][-limit:]
