"""Which models have rows that another version of this service has folded, in a way of its own.

The stored name of a model's position has the number of the fold that made its rows. A model whose number has changed is
folded on, since a gap could not be filled, but its position stays under its old name: so each start notices it, until
it is rebuilt.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from services.chassis.postgres.pool import Database, Pool
from services.sessions.projection import NAMES

log = logging.getLogger(__name__)


async def outdated(database: Database, names: Mapping[str, str] = NAMES) -> dict[str, str]:
    """The models whose rows are of another number, and the name that is stored for each. Raises `StoreAway`."""
    stored = {row["name"] for row in await database.fetch("SELECT name FROM projections")}
    others: dict[str, str] = {}
    for name in sorted(stored):
        model, dash, number = name.rpartition("-")
        if dash and number.isdigit() and model in names and names[model] not in stored:
            others[model] = name
    return others


async def warn_of_outdated(pool: Pool, names: Mapping[str, str] = NAMES) -> None:
    """Says in the log which models are to be rebuilt. Raises `StoreAway`."""
    async with pool.database() as database:
        found = await outdated(database, names)
    for model, stored in found.items():
        log.warning(
            "the rows of the read model %s were folded by another version (%s, this one has %s): new facts are added, "
            "and old ones are not folded again: run `python -m services.sessions rebuild %s`",
            model,
            stored,
            names[model],
            model,
        )
