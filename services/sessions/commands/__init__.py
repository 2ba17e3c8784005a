"""The questions of operators at the command line: `arguments` reads them, `asking` asks PostgreSQL through `queries`,
and a module for each command prints the answer on a terminal, with `screen` and `plot`. With `--json` the answer is
printed as the query returned it.
"""
