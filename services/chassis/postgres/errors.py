"""What goes wrong with PostgreSQL, for those who use it without knowing its driver."""

from __future__ import annotations


class StoreAway(Exception):
    """The store is unreachable, did not answer in time, or is in a state in which it cannot do what it was asked.

    The text says why and what to do. Trying again may succeed: there are no partial changes.
    """


class SchemaRefused(Exception):
    """This version cannot use the database's schema. The text says what to do."""
