"""Exports and erases what Fairlead stores about one user, in every store. docs/privacy.md is the page for it.

`person` says what is about a user, and `rewriting` removes it from data about several users; both are pure. `log_nats`,
`archive_postgres`, `publications_nats`, `keys_nats` and `tables_postgres` each reach one store. `erasure` and `export`
go through all of them, for `command` and for `api`.
"""
