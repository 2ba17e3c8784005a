"""A user's own channels in the tables: the rows about these channels, and rows about others that name them.

The application may have subscribed others there, and clients that try to subscribe are refused. The log loses these
facts, and so must the tables: otherwise `verify` would report what a fresh fold does not know. Each row is found by an
index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from services.chassis.postgres.pool import Database
from services.sessions.privacy.person import Person
from services.sessions.privacy.rewriting import Connections
from services.sessions.rows_postgres import moment
from services.sessions.values import after_prefix, time_of

_OWNED: Final = "strpos({0}, '#') > 0 AND reverse({0}) >= $1 AND reverse({0}) < $2"
_NAMES: Final = f"""
SELECT name FROM channels WHERE {_OWNED.format("name")}
UNION SELECT channel FROM refusals WHERE {_OWNED.format("channel")}"""

_OF_OTHERS: Final = f"""
SELECT (SELECT count(*) FROM subscriptions WHERE channel = ANY($1::text[]))
    + (SELECT count(*) FROM refusals WHERE {_OWNED.format("channel").replace("$2", "$3").replace("$1", "$2")}
        AND channel = ANY($1::text[]))"""

# Later facts of connections in these channels stay, in the log as well: they bring the name of the channel back.
_CONNECTIONS: Final = f"""
SELECT connection FROM subscriptions WHERE channel = ANY($1::text[])
UNION SELECT connection FROM refusals
WHERE {_OWNED.format("channel").replace("$2", "$3").replace("$1", "$2")} AND channel = ANY($1::text[])"""
_TIMELINE: Final = """
SELECT number, at, facts::text FROM timeline WHERE connection = $1 AND (number, at) > ($2, $3) AND at <= $4
ORDER BY number, at LIMIT $5"""
_REWRITE: Final = """
UPDATE timeline SET facts = $4::text::json, at = $5 WHERE connection = $1 AND number = $2 AND at = $3"""
_REMOVE: Final = "DELETE FROM timeline WHERE connection = $1 AND number = $2 AND at = $3"
_REMOVE_REFUSALS: Final = f"""
DELETE FROM refusals WHERE {_OWNED.format("channel")} AND channel = ANY($3::text[]) AND at <= $4"""
_REMOVE_SUBSCRIPTIONS: Final = "DELETE FROM subscriptions WHERE channel = ANY($1::text[]) AND since <= $2"
_REMOVE_CHANNELS: Final = (
    "DELETE FROM channels WHERE name = ANY($1::text[])",
    "DELETE FROM channel_hours WHERE channel = ANY($1::text[])",
    "DELETE FROM channel_days WHERE channel = ANY($1::text[])",
)
_PAGE: Final = 256


class _At(msgspec.Struct):
    at: int


_decode_facts = msgspec.json.Decoder(list[Raw]).decode
_decode_at = msgspec.json.Decoder(_At).decode
_encode = msgspec.json.Encoder().encode


class OwnChannels:
    """The own channels of one user. All methods take a connection to PostgreSQL."""

    def __init__(self, person: Person) -> None:
        self._person = person
        end = f"#{person.plain}"[::-1]
        self._ends = end, after_prefix(end)

    async def names(self, database: Database, about: Connections) -> list[str]:
        """The user's channels that are named in tables, or in facts that `about` has seen."""
        found = {row[0] for row in await database.fetch(_NAMES, *self._ends)}
        return sorted({name for name in found if self._person.owns(name)} | about.channels)

    async def count(self, database: Database, names: Sequence[str]) -> int:
        """How many subscriptions to, and refusals for, these channels there are."""
        return int(await database.fetchval(_OF_OTHERS, names, *self._ends))

    async def erase(self, database: Database, names: Sequence[str], until: int, about: Connections) -> None:
        """Removes these channels, and everything about them up to a moment, in the transaction in which the caller
        holds the lock of the position: an erasure that was interrupted finds the rest of its work by the rows that are
        left."""
        if not names:
            return
        for row in await database.fetch(_CONNECTIONS, names, *self._ends):
            await self._rewrite(database, row[0], until, about)
        await database.execute(_REMOVE_REFUSALS, *self._ends, names, moment(until))
        await database.execute(_REMOVE_SUBSCRIPTIONS, names, moment(until))
        for statement in _REMOVE_CHANNELS:
            await database.execute(statement, names)

    async def _rewrite(self, database: Database, connection: str, until: int, about: Connections) -> None:
        after = -1, moment(0)
        while True:
            page = await database.fetch(_TIMELINE, connection, *after, moment(until), _PAGE)
            for number, at, text in page:
                facts = _decode_facts(text)
                left = [fact if _decode_at(fact).at > until else about.left_of(fact) for fact in facts]
                kept = [fact for fact in left if fact is not None]
                if not kept:
                    await database.execute(_REMOVE, connection, number, at)
                elif any(mine is not theirs for mine, theirs in zip(left, facts, strict=True)):
                    began = moment(time_of(_decode_at(kept[0]).at))  # as a fold of the remaining facts would set it
                    await database.execute(_REWRITE, connection, number, at, _encode(kept).decode(), began)
            if len(page) < _PAGE:
                return
            after = page[-1][0], page[-1][1]
