"""PostgreSQL: connections, errors, migrations. What each service keeps there is its own."""
