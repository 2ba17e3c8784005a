"""What operators read in the log of streams that are shut."""

from __future__ import annotations

import pytest

from services.chassis.process.log import Throttle
from services.chassis.process.tasks import Tasks
from services.edge.broker import stream_news
from services.edge.broker.stream_news import StreamNews
from tests.support.eventually import eventually


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_news, "GATHER_S", 0.01)
    monkeypatch.setattr(stream_news, "LATER_S", 0.01)


async def test_that_a_stream_can_be_used_again_is_told_late_rather_than_never(monkeypatch, caplog):
    """Streams were shut and opened more often than there may be lines."""
    caplog.set_level("INFO")
    monkeypatch.setattr(stream_news, "Throttle", lambda burst: Throttle(burst=1, per_s=0.2))
    tasks = Tasks()
    news = StreamNews(tasks)
    news.start()
    news.shut("S", "away")
    await eventually(lambda: "stream S: publishes and subscribes there get error 100" in caplog.text)
    news.opened("S")
    await eventually(lambda: "stream S can be used again" in caplog.text)
    assert len(caplog.records) == 2
    await eventually(lambda: not len(tasks))


async def test_an_edge_that_has_not_started_tells_nothing_and_what_is_shut_when_it_has(caplog):
    tasks = Tasks()
    news = StreamNews(tasks)
    news.shut("A", "away")
    news.shut("B", "away")
    news.opened("A")
    assert not len(tasks)
    news.start()
    await eventually(lambda: "stream B: publishes and subscribes there get error 100" in caplog.text)
    assert "stream A" not in caplog.text
    await tasks.stop()
