"""Regular expressions of the settings take no time to speak of, whatever they are matched against."""

from __future__ import annotations

import re

import pytest

from services.edge.patterns import check_effort


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+",
        r"(?:[a-z]+\.)*example",
        r"(?P<realm>(a|aa)+)",
        r"((a?)b)*",
        r"(?:x(?:a|b)){2,}",
        r"(a{1,9}){20}",
        r"(?i:(\w*))*",
        r"[(](\)|a)+",
    ],
)
def test_a_repeat_within_a_repeat_is_refused(pattern: str) -> None:
    re.compile(pattern)
    with pytest.raises(ValueError, match=r"expected no repeat \(.+\) after a group with a repeat or a choice in it"):
        check_effort(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        r"https://[a-z-]+\.example\.com/realms/(?P<realm>[a-z-]+)",
        r"https://(?:eu|us)\.example\.com(?:/v[0-9]+)?",
        r"([0-9a-f]{4}-){3}[0-9a-f]+",
        r"(?i)[(+)*]+(?#x|y)\(a+\)+",
        r"[]()+]+(?P<x>a+)(?P=x)",
    ],
)
def test_others_are_not(pattern: str) -> None:
    re.compile(pattern)
    check_effort(pattern)
