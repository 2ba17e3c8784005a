"""What is known of an idempotency key that may have been used before."""

from __future__ import annotations

import pytest

from proto.messages import StreamPosition
from services.edge.broker.broker import KeySearch
from services.edge.rejection import Rejected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.namespaces import rules_of

AT = StreamPosition(7, "e")
WHOLE = KeySearch(None, 3, removed=False, unbroken=True)


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


def finds(edge: TestEdge, monkeypatch: pytest.MonkeyPatch, answer: KeySearch | None) -> list[float]:
    """The ages, in seconds, since which the broker is asked to look from now on. With None it must not be asked."""
    ages: list[float] = []

    async def search(address: object, message_id: str, since: float) -> KeySearch:
        assert answer is not None
        ages.append(edge.broker.now() - since)
        return answer

    monkeypatch.setattr(edge.broker.index, "search", search)
    return ages


@pytest.mark.parametrize(("channel", "age_s"), [("chat:x", 290.0), ("hist:x", 50.0), ("live:x", 290.0)])
async def test_while_the_broker_remembers_the_key_nothing_is_looked_up(channel, age_s, edge, monkeypatch):
    finds(edge, monkeypatch, None)
    assert await edge.node.history.find_key(channel, rules_of(channel), "key", age_s) is None


async def test_later_it_is_looked_up_among_what_was_stored_since(edge, monkeypatch):
    ages = finds(edge, monkeypatch, KeySearch(AT, 10, removed=True, unbroken=False))
    assert await edge.node.history.find_key("chat:x", rules_of("chat:x"), "key", 400.0) == AT
    assert 400 < ages[0] < 410
    finds(edge, monkeypatch, WHOLE)
    assert await edge.node.history.find_key("chat:x", rules_of("chat:x"), "key", 400.0) is None


@pytest.mark.parametrize(
    ("channel", "age_s", "answer", "why"),
    [
        ("live:x", 400.0, None, "are not stored"),
        ("hist:x", 58.0, WHOLE, "does not reach back"),
        ("chat:x", 400.0, WHOLE._replace(held=10), "does not reach back"),
        ("chat:x", 400.0, WHOLE._replace(removed=True), "does not reach back"),
        ("chat:x", 400.0, WHOLE._replace(unbroken=False), "lack of room"),
    ],
)
async def test_what_nobody_knows_is_rejected(channel, age_s, answer, why, edge, monkeypatch):
    finds(edge, monkeypatch, answer)
    with pytest.raises(Rejected, match=why) as rejected:
        await edge.node.history.find_key(channel, rules_of(channel), "key", age_s)
    assert rejected.value.error.code == 112


async def test_what_skips_the_history_is_not_looked_up_in_it(edge, monkeypatch):
    finds(edge, monkeypatch, None)
    with pytest.raises(Rejected, match="are not stored"):
        await edge.node.history.find_key("chat:x", rules_of("chat:x"), "key", 400.0, skips_history=True)
