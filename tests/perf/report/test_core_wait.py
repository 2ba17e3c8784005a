from __future__ import annotations

import os

from perf.report.core_wait import core_wait_s


def test_it_only_grows() -> None:
    before = core_wait_s(os.getpid())
    assert 0.0 <= before <= core_wait_s(os.getpid())


def test_a_process_that_is_gone_waits_for_nothing() -> None:
    assert core_wait_s(2**31 - 1) == 0.0
