"""What goes wrong with PostgreSQL, for those who use it without knowing its driver."""

from __future__ import annotations


class StoreAway(Exception):
    """The store is unreachable, did not answer in time, or is in a state in which it cannot do what it was asked.

    The text says why and what to do. Trying again may succeed: there are no partial changes.
    """


class DataRefused(StoreAway):
    """PostgreSQL refuses the data of a statement, as it would again. The cause is the driver's error.

    For most users of the database it is a state like any other: somebody has added a constraint or a trigger. Who
    writes the data of others tells it apart, and may put these aside.
    """


class SchemaRefused(Exception):
    """This version cannot use the database's schema. The text says what to do."""
