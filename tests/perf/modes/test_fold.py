"""The facts that `perf fold` puts into the log, and one small real run."""

from __future__ import annotations

from pathlib import Path

from perf.load import session_facts
from proto.events import Closed, Opened
from services.sessions.projection import fold
from services.sessions.state import State
from tests.perf.command import perf


def test_every_client_comes_and_goes_and_the_lost_ones_go_on() -> None:
    batches = list(session_facts.batches(40_000))
    events = [event for batch in batches for event in batch.events]
    assert len(events) == 40_000
    opened = {event.connection for event in events if isinstance(event, Opened)}
    assert opened == {event.connection for event in events if isinstance(event, Closed)} and len(opened) == 10_000
    state = fold(State(60_000), batches)
    assert not state.unknown
    assert 1_500 < state.resumed < 2_500, "each fourth is lost, and comes back"


def test_each_edge_numbers_its_batches() -> None:
    numbers: dict[str, int] = {}
    for batch in session_facts.batches(8_000):
        assert batch.number == numbers.get(batch.instance, 0) + 1
        numbers[batch.instance] = batch.number
    assert len(numbers) == session_facts.EDGES


async def test_fold(tmp_path: Path) -> None:
    outcome = await perf(tmp_path, "fold", "--events", "64000", "--batch", "50", "--share-cores")
    assert outcome.code == 0, outcome.output
    assert outcome.report["events"] == 64_000
    assert 0 < outcome.report["counted"] < 64_000
    assert outcome.report["events_a_second"] > 0
