"""Sessions of a moment are counted by the connection that carried each of them then, and by no other."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.sessions.api.filters import Filters
from services.sessions.api.reader_postgres import ReadPool, SessionsReader
from services.sessions.api.session_counts import SessionCounts
from services.sessions.queries.periods import Period
from services.sessions.rows import Connection, Session, Subscription
from tests.sessions.rows_by_hand import EPOCH, Row, insert
from tests.support.servers import Postgres

pytestmark = pytest.mark.integration

MINUTE = 60_000
DAY = 1440 * MINUTE
THEN = 20_000 * DAY
AT = EPOCH + timedelta(milliseconds=THEN)
LAST_DAY = Period(AT - timedelta(days=1), AT)


def overlapping(third: int) -> list[Row]:
    """A session whose connection to e1, in "old", is open yet after it went on to e2, in "new"; by another one it went
    on to e3 so long after THEN."""
    began, moved, again = THEN - 9 * MINUTE, THEN - MINUTE, THEN + third
    return [
        Session("c1", "ann", "", "js", "5.8", "e3", "i", "c3", 3, began, None, connected_at=again),
        Connection("c1", "c1", "e1", "i", began),
        Connection("c2", "c1", "e2", "i", moved),
        Connection("c3", "c1", "e3", "i", again),
        Subscription("c1", "old", began, began),
        Subscription("c2", "new", moved, moved),
        Subscription("c3", "newest", again, again),
    ]


@pytest.mark.parametrize(
    ("third", "edge", "channel"), [(MINUTE, "e2", "new"), (-1, "e3", "newest")], ids=["one of several", "the last"]
)
async def test_of_connections_that_overlap_one_has_the_edge_and_the_channels(
    postgres: Postgres, third: int, edge: str, channel: str
) -> None:
    await insert(postgres.url, *overlapping(third))
    async with ReadPool(postgres.url, 1) as pool:
        counts, reader = SessionCounts(pool), SessionsReader(pool)
        groups = (await counts.ask(Filters(at=AT), ("edge", "channel"), None, LAST_DAY)).counts
        assert [(one.edge, one.channel, one.count) for one in groups] == [(edge, channel, 1)]
        for an_edge in (None, "e1", "e2", "e3"):
            for a_channel in ("old", "new", "newest"):
                filters = Filters(at=AT, edge=an_edge, channel=a_channel)
                expected = 1 if an_edge in (None, edge) and a_channel == channel else 0
                found = (await counts.ask(filters, ("edge",), None, LAST_DAY)).counts
                assert [(one.edge, one.count) for one in found] == [(edge, 1)] * expected, (an_edge, a_channel)
                of_ann = Filters(user="ann", at=AT, edge=an_edge, channel=a_channel)
                for searched in (filters, of_ann):
                    sessions = await reader.sessions(searched, 9)
                    assert [one.id for one in sessions] == ["c1"] * expected, searched
