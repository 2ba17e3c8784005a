"""The outbox: rows that an application inserts in its own transactions, and the relay that publishes them.

The table is in the application's database, see `outbox.sql`. docs/outbox.md is the page for its users.
"""
