"""What a state of PostgreSQL (a SQLSTATE) means for code that uses the database: to wait, or to look at the data. Pure.

A state that is not known to be about the data counts as one about the database: waiting loses nothing.
"""

from __future__ import annotations

from typing import Final

_ABOUT_DATA: Final = (
    "21",  # a row is written twice by one statement
    "22",  # a number, a time or a text that the column cannot hold
    "23",  # a constraint
    "54",  # too large, for an index above all
)

_OF_THE_SESSION: Final = ("25", "3F", "42", "57014")
"""States that may come from the settings that a connection got when it was made (read-only, search_path, a timeout), or
from a server that is no longer the primary."""

_ADVICE: Final = {
    **dict.fromkeys(_ABOUT_DATA, "the tables refuse it: remove constraints, triggers or columns that you added"),
    "08": "check that PostgreSQL runs at the address in postgres.url",
    "25006": "the database is read-only, as a replica is: let postgres.url name the primary, or end the read-only mode",
    "28": "check the user and the password in postgres.url, and pg_hba.conf",
    "3D000": "create the database, or correct its name in postgres.url",
    "40": "another transaction was in the way; nothing to do",
    "42501": "grant the user of postgres.url all rights on the tables of this service and on their schema",
    "42P07": "tables of this service are there without their revision: restore the table of the revisions",
    "42": "the tables are not as this version made them: undo what was changed by hand, or restore them",
    "3F000": "the schema is gone: restore it, or correct the search_path of the user of postgres.url",
    "53100": "make room on PostgreSQL's disk",
    "53300": "raise max_connections, or close connections of others",
    "53": "PostgreSQL lacks a resource: see its log",
    "55P03": "a lock is held for too long: end the transaction that holds it (pg_stat_activity)",
    "57014": "a timeout of PostgreSQL ended the statement: raise statement_timeout, or end what holds its locks",
    "57P": "PostgreSQL stops, starts or recovers; nothing to do",
    "58": "PostgreSQL cannot read or write its files: see its log",
}
"""What an operator can do, by the beginning of the state: the longest match counts."""

_UNKNOWN: Final = "see PostgreSQL's log"


def is_about_data(state: str) -> bool:
    """Whether the data are to blame: the same statement would fail again, whatever happens to the database."""
    return state.startswith(_ABOUT_DATA)


def may_be_of_the_session(state: str) -> bool:
    """Whether a new connection may be in a better state than this one."""
    return state.startswith(_OF_THE_SESSION)


def advice(state: str) -> str:
    """What an operator can do about a state, in a few words."""
    fitting = [beginning for beginning in _ADVICE if state.startswith(beginning)]
    return _ADVICE[max(fitting, key=len)] if fitting else _UNKNOWN
