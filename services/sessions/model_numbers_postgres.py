"""Finds the models whose rows were folded by another version of this service, with other rules.

The stored name of a model's position has the number of the fold that made its rows. A model whose number has changed is
still folded, as a gap could not be filled later, but its position stays under the old name: so each start notices the
model until it is rebuilt.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from services.chassis.postgres.pool import Database, Pool
from services.sessions.projection import NAMES

log = logging.getLogger(__name__)


async def outdated(database: Database, names: Mapping[str, str] = NAMES) -> dict[str, str]:
    """The models whose rows have another number, each with its stored name. Raises `StoreAway`."""
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
