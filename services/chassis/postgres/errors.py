"""What goes wrong with PostgreSQL, for code that uses it without knowing its driver."""

from __future__ import annotations


class StoreAway(Exception):
    """The store is unreachable, did not answer in time, or is in a state in which it cannot do what was asked.

    The text says why and what to do. Trying again may succeed: there are no partial changes.
    """


class DataRefused(StoreAway):
    """PostgreSQL refuses the data of a statement, and would refuse them again. The cause is the driver's error.

    Most callers treat it like any other `StoreAway`: somebody has added a constraint or a trigger. Code that writes
    other people's data catches it separately, and may set these data aside.
    """


class SchemaRefused(Exception):
    """This version cannot use the database's schema. The text says what to do."""
