"""What the projector says: enough to act on, and never a line for each retry or message."""

from __future__ import annotations

import pytest

from services.sessions.entries import DeadLetter
from services.sessions.reports import SAY_AGAIN_S, SAY_LOSSES_S, Losses, Waiting


def letter(sequence: int) -> DeadLetter:
    return DeadLetter("epoch", sequence, "i1", f"reason {sequence}", b"", 0)


def test_the_same_reason_is_said_at_once_and_then_seldom(caplog: pytest.LogCaptureFixture) -> None:
    waiting = Waiting()
    for moment in range(int(SAY_AGAIN_S) + 1):
        waiting.waits("the database is read-only", float(moment))
    assert caplog.text.count("the database is read-only") == 2
    assert waiting.problem == "the database is read-only"


def test_another_reason_is_said_soon_but_not_as_often_as_two_of_them_alternate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waiting = Waiting()

    def said(since: int, until: int) -> list[int]:
        caplog.clear()
        for moment in range(since, until):
            waiting.waits(f"file {moment} cannot grow", float(moment))
        return [int(record.getMessage().split()[-3]) for record in caplog.records]

    assert said(0, 600) == [0, 5, 15, 35, 75, *range(135, 600, int(SAY_AGAIN_S))]
    waiting.follows(7)
    assert said(600, 700) == [600, 610, 630, 670]


def test_two_instances_that_take_turns_say_so_seldom(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    waiting = Waiting()
    for moment in range(int(2 * SAY_AGAIN_S)):
        waiting.gives_way(moment, float(moment))
    assert len(caplog.records) == 2


def test_once_the_log_is_followed_there_is_no_problem(caplog: pytest.LogCaptureFixture) -> None:
    waiting = Waiting()
    assert Waiting().problem == "starting"
    caplog.set_level("INFO")
    waiting.follows(7)
    waiting.follows(8)
    assert waiting.problem is None
    assert [record.getMessage() for record in caplog.records] == ["following the session log from message 8"]


def test_a_flood_of_losses_is_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    losses = Losses()
    for moment in range(int(2 * SAY_LOSSES_S)):
        losses.add([letter(2 * moment), letter(2 * moment + 1)], ["teleported"])
        losses.say(float(moment))
    first, types, second, more_types = [record.getMessage() for record in caplog.records]
    assert "message 0 of the session log was set aside, and 1 more: reason 0" in first
    assert "dead-letters" in first and "1 'teleported'" in types
    assert "message 2 of the session log was set aside, and 19 more: reason 2" in second
    assert "10 'teleported'" in more_types


def test_what_an_upgrade_may_read_is_said_by_its_types_and_what_had_no_room(caplog: pytest.LogCaptureFixture) -> None:
    losses = Losses()
    losses.add([letter(1)._replace(newer=True)], ["teleported"], without_room=1)
    losses.say(0.0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "1 'teleported'" in line and "dead-letters replay all" in line
    assert "no room for those of 1 messages" in line and "rebuild all" in line


def test_types_that_somebody_makes_up_fill_no_line(caplog: pytest.LogCaptureFixture) -> None:
    losses = Losses()
    losses.add([], [f"{number}\n{'x' * 1000}" for number in range(1000)])
    losses.say(0.0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert len(line) < 1000 and "\n" not in line and "990 'others'" in line
