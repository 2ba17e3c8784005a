from __future__ import annotations

import pytest

from proto import codes
from services.edge.rejection import Rejected
from services.edge.server_api.call_counts import CallCounts
from services.edge.tally import Tally


async def test_calls_are_counted_by_what_became_of_them_and_timed() -> None:
    tally = Tally()
    counts = CallCounts(tally)
    with counts.call("publish"):
        pass
    with pytest.raises(Rejected), counts.call("publish"):
        raise Rejected(codes.LIMIT_EXCEEDED)
    with pytest.raises(ZeroDivisionError), counts.call("../etc/passwd"):
        raise ZeroDivisionError
    counts.refused("history", 401)
    counts.refused("made up", 413)
    assert tally.api_calls == {
        ("publish", 0): 1,
        ("publish", 106): 1,
        ("unknown", 100): 1,
        ("history", 401): 1,
        ("unknown", 413): 1,
    }
    timed = tally.timings.api_call_seconds.by_label
    assert {labels: histogram.count for labels, histogram in timed.items()} == {("publish",): 2, ("unknown",): 1}
