"""The states of PostgreSQL for whose end a service waits, and what the message tells an operator to do."""

from __future__ import annotations

import pytest

from services.chassis.postgres.states import advice, is_about_data


@pytest.mark.parametrize("state", ["22003", "22021", "22000", "23505", "23514", "54000", "21000"])
def test_what_the_data_are_to_blame_for_is_not_waited_for(state: str) -> None:
    assert is_about_data(state)


@pytest.mark.parametrize(
    ("state", "what_to_do"),
    [
        ("08006", "check that PostgreSQL runs"),
        ("25006", "name the primary"),
        ("28P01", "check the user and the password"),
        ("3D000", "create the database"),
        ("3F000", "search_path"),
        ("40P01", "nothing to do"),
        ("42501", "grant"),
        ("42P01", "not as this version made them"),
        ("42703", "not as this version made them"),
        ("53100", "make room"),
        ("53300", "max_connections"),
        ("53200", "lacks a resource"),
        ("55P03", "lock"),
        ("57014", "statement_timeout"),
        ("57P01", "nothing to do"),
        ("57P03", "nothing to do"),
        ("58030", "see its log"),
        ("XX000", "see PostgreSQL's log"),
        ("P0001", "see PostgreSQL's log"),
        ("", "see PostgreSQL's log"),
    ],
)
def test_all_else_is_and_says_what_to_do(state: str, what_to_do: str) -> None:
    assert not is_about_data(state)
    assert what_to_do in advice(state)
