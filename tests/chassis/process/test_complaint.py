from __future__ import annotations

from services.chassis.process.complaint import Complaint


def test_the_same_is_said_again_ever_more_rarely_and_something_new_at_once() -> None:
    complaint = Complaint()
    assert [at for at in range(100) if complaint.due("JetStream is off", at)] == [0, 10, 30, 70]
    assert complaint.due("no room", 100) and not complaint.due("no room", 109) and complaint.due("no room", 110)
