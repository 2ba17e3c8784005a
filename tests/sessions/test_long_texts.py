"""Texts as long as they may be, of characters that take four bytes and cannot be compressed: every row has room."""

from __future__ import annotations

import random

import pytest

from proto.events import Closed, EventBatch, Opened, Refused, Subscribed, Unsubscribed
from services.chassis.postgres.pool import Pool
from services.sessions.rows import MAX_TEXT
from services.sessions.store import ORIGIN, Position
from services.sessions.store_postgres import PostgresStore
from tests.contract.session_rows import stays_of
from tests.sessions.database import read_rows
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration


async def test_no_text_is_too_long_for_an_index(postgres: Postgres):
    chance = random.Random(1)

    def long() -> str:
        return "".join(chr(chance.randrange(0x10000, 0x10FFFF)) for _ in range(2 * MAX_TEXT))

    channel, name = long(), long()
    batch = EventBatch(
        long(),
        name,
        1,
        [
            Opened(1, name, long(), long(), long(), long(), long(), long(), long(), long(), long()),
            Subscribed(2, name, channel),
            Unsubscribed(3, name, channel, 2_500, long(), long()),
            Refused(4, long(), 103, long(), name, long(), channel, long(), long(), long(), long(), long(), long()),
            Closed(2 * 3_600_000, name, 3_000, long(), long(), offsets={channel: 1}),
        ],
    )
    async with Pool(postgres.url, 2) as pool:
        await PostgresStore(pool, 60_000).commit(ORIGIN, Position("e", 1), [batch])
    rows = await read_rows(postgres.url)
    assert len(rows.sessions) == len(rows.connections) == len(stays_of(rows)) == len(rows.refusals) == 1
    assert len(rows.users) == len(rows.channels) == len(rows.edges) == 1
