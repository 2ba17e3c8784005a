"""Rates in the settings: a burst, and a rate in the long run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from services.chassis.process.settings import ConfigurationError, Rate, Section, load


class DoorSection(Section, frozen=True):
    knocks: Rate = Rate(3, 60)


class House(Struct, frozen=True, forbid_unknown_fields=True):
    door: DoorSection = DoorSection()


@pytest.mark.parametrize(
    ("written", "amount", "seconds"),
    [
        ("600/10s", 600, 10),
        ("5/s", 5, 1),
        ("5/1s", 5, 1),
        ("20_000_000/10s", 20_000_000, 10),
        ("30/m", 30, 60),
        ("1/500ms", 1, 0.5),
        ("7/10", 7, 10),
        ("9/1h30m", 9, 5400),
    ],
)
def test_rates(written: str, amount: int, seconds: float) -> None:
    assert Rate.parse(written) == Rate(amount, seconds)


@pytest.mark.parametrize("written", [0, "0", ""])
def test_no_limit(written: object) -> None:
    assert not Rate.parse(written) and Rate.parse(written) == Rate()


@pytest.mark.parametrize(
    "written",
    [
        5,
        "5",
        "5/",
        "/s",
        "5/0s",
        "0/s",
        "-5/s",
        "5/s/s",
        "5 /s",
        "5/-1s",
        "many/s",
        "5/soon",
        "5__0/s",
        "\N{ARABIC-INDIC DIGIT FIVE}/s",
        True,
        False,
        None,
        1.5,
        ["5/s"],
        "9" * 16 + "/s",
    ],
)
def test_what_is_no_rate(written: object) -> None:
    with pytest.raises(ValueError, match="expected a rate such as"):
        Rate.parse(written)


@given(st.integers(1, 10**15 - 1), st.floats(0.001, 1e6))
def test_a_rate_is_read_as_it_is_shown(amount: int, seconds: float) -> None:
    shown = Rate.parse(str(Rate(amount, float(f"{seconds:.3f}"))))
    assert shown.amount == amount


def test_more_at_once_is_no_more_in_the_long_run() -> None:
    rate = Rate(10, 2).at_least(40)
    assert (rate.amount, rate.seconds) == (40, 8)
    assert Rate(10, 2).at_least(10) == Rate(10, 2)
    assert not Rate().at_least(10), "no limit stays none"


@pytest.mark.parametrize(("written", "read"), [("5/s", Rate(5, 1)), ("0", Rate()), ("", Rate())])
def test_rates_in_variables(written: str, read: Rate) -> None:
    assert load(House, {"FAIRLEAD_DOOR_KNOCKS": written}, {"door"}).door.knocks == read


def test_a_variable_that_is_no_rate() -> None:
    with pytest.raises(ConfigurationError, match='FAIRLEAD_DOOR_KNOCKS: expected a rate such as "600/10s"'):
        load(House, {"FAIRLEAD_DOOR_KNOCKS": "often"}, {"door"})
