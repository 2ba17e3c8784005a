"""A write that fails, which no write should, costs those of its step their connection, and nobody else anything."""

from __future__ import annotations

import pytest

from proto import codes
from services.edge.channels.subscriber import Untaken
from services.edge.channels.subscription import Subscription
from tests.edge.channels.test_subscribers import publication
from tests.edge.channels.test_subscribers_steps import room, run
from tests.support.cluster import FakeSubscriber


class Gone(FakeSubscriber):
    """One whose connection is gone: it has no owner any more."""

    @property
    def owner(self) -> FakeSubscriber:
        raise AttributeError("owner")


def test_the_others_of_its_step_come_back_and_who_has_left_meanwhile_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    subscribers, pace, everybody = room(96)
    bad, left = everybody[-1][0], everybody[-2][0]
    left.__class__ = Gone

    def fail(framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
        raise OSError("a transport that does not keep its promise")

    monkeypatch.setattr(bad, "push", fail)
    subscribers.fan_out(publication(1), None)
    pace.end_turn()  # writes to the first ones, 32 with each step
    subscribers.remove(left)
    run(pace)
    first, second = everybody[:64], everybody[64:]
    assert all(each.values == [1] and not each.closes for each, _ in first)
    assert all(each.closed_by == [codes.INTERNAL_CLOSE.code] for each, _ in second if each is not left)
    assert not left.closes
    assert "failed to write to subscribers" in caplog.text
