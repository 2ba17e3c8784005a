"""Measures what Fairlead costs and how it behaves under load, from outside: over the wire, as its users see it.

`python -m perf <mode>`; each mode is a file in `modes`. `load` makes the load, `servers` starts perf's own NATS, edges
and other servers, `systems` are the systems that Fairlead is compared with, and `report` makes the results of a run.
perf knows the contract in `proto`. Of the services it imports only what `fold` needs to fill a session log, and the
parts of an edge that `micro` measures in its own process.
"""
