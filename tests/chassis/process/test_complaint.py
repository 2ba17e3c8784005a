from __future__ import annotations

from services.chassis.process.complaint import Complaint


def test_the_same_is_said_again_ever_more_rarely_and_something_new_at_once() -> None:
    complaint = Complaint()
    assert [at for at in range(100) if complaint.due("JetStream is off", at)] == [0, 10, 30, 70]
    assert complaint.due("no room", 100) and not complaint.due("no room", 109) and complaint.due("no room", 110)


def test_two_reasons_in_turn_are_each_said_as_rarely_as_one():
    complaint = Complaint()
    said = [now for now in range(100) if complaint.due("ab"[now % 2], float(now))]
    assert said == [0, 1, 10, 11, 30, 31, 70, 71]


def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten():
    complaint = Complaint()
    assert all(complaint.due(str(number), 0.0) for number in range(100))
    assert complaint.due("0", 1.0) and not complaint.due("99", 1.0)
