"""Failures are distinguished by their origin: the server, the proxy, or the generator's own machine."""

from __future__ import annotations

import errno
from collections import Counter

import pytest

from perf.load import failures


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ECONNREFUSED, "refused (tcp)"),
        (errno.ECONNRESET, "reset (tcp)"),
        (errno.ETIMEDOUT, "timeout (tcp)"),
        (errno.EMFILE, "local: no file descriptor left"),
        (errno.EADDRNOTAVAIL, "local: no free source port"),
        (errno.EHOSTUNREACH, "EHOSTUNREACH (tcp)"),
    ],
)
def test_socket_errors(number: int, cause: str) -> None:
    assert failures.of_os_error(OSError(number, "x"), "tcp") == cause


def test_an_end_without_a_close_frame() -> None:
    assert failures.of_end(None, "held") == "eof (held)"
    assert failures.of_end(ConnectionResetError(errno.ECONNRESET, "x"), "held") == "reset (held)"


def test_close_codes_are_counted_whatever_their_reasons() -> None:
    causes = {failures.of_close(1001, "shutdown"): 3, failures.of_close(1001, ""): 1, "reset (held)": 2}
    assert failures.close_codes(causes) == {"1001": 4, "none": 2}


def test_distinct_causes_are_bounded() -> None:
    counted: Counter[str] = Counter()
    for number in range(1000):
        failures.count(counted, failures.of_close(4000, f"reason {number}"))
    assert len(counted) <= failures.MAX_CAUSES + 1
    assert counted.total() == 1000
