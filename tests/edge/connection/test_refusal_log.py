"""Log lines that strangers can cause do not flood the log."""

from __future__ import annotations

import pytest

from services.edge.connection.refusal_log import RefusalLog
from tests.edge.signers import SECRET
from tests.edge.talks import connected
from tests.support.cluster import EdgeCluster, FakeClock, TestEdge


def test_refusals_are_in_the_log_but_do_not_flood_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    refusals = RefusalLog(clock.now)
    for number in range(1000):
        refusals.write("a command was refused", f"number {number}")
    few = len(caplog.records)
    assert 0 < few < 100
    clock.time += 3600
    refusals.write("a command was refused", "the last")
    assert "the last" in caplog.text and f"{1000 - few} more like this" in caplog.text


def test_one_kind_of_refusal_does_not_hide_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    refusals = RefusalLog(clock.now)
    for number in range(1000):
        refusals.write(f"a command was refused with {number % 7}", "it")
    refusals.write("an upgrade was refused", "the origin")
    assert "the origin" in caplog.text
    for number in range(10_000):
        refusals.write(f"kind {number}", "made up")
    kinds = {record.getMessage() for record in caplog.records}
    assert len(kinds) < 1000 and len(caplog.records) < 2000
    assert "a client was refused: made up" in caplog.text


async def test_the_refusals_of_one_client_can_be_searched_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    talk = await connected(await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET).start(), sub="42")
    assert await talk.error(subscribe={"channel": "none:x"}) == 102
    (record,) = [each for each in caplog.records if "none:x" in each.getMessage()]
    assert vars(record)["user"] == "42" and vars(record)["client"] == talk.id
