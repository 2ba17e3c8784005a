"""Read models folded once more, beside the live ones: to take their place (`rebuild`), or to be compared (`verify`).

`log_reading` gives the archive and the stream as one log. `beside_postgres` makes a schema with the same tables, into
which `refolding` folds that log with the service's own store, up to the live position. There `swap_postgres` puts the
new tables into the place of the old ones, or `comparison_postgres` compares both, row by row.
docs/decisions/0041-rebuilt-beside.md has the reasons.
"""
