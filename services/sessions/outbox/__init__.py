"""The outbox: rows that an application inserts in its own transactions, and the relay that publishes them.

The table is in the application's database; `outbox.sql` makes it. docs/outbox.md is the page for users of the outbox.
"""
