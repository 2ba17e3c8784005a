"""Folds read models once more, beside the live ones: to replace them (`rebuild`), or to compare both (`verify`).

`log_reading` reads the archive and the stream as one log. `beside_postgres` makes a schema with the same tables, into
which `refolding` folds that log with the service's own store, up to the live position. Then `swap_postgres` puts the
new tables into the place of the old ones, or `comparison_postgres` compares both, row by row.
docs/decisions/0041-rebuilt-beside.md has the reasons.
"""
