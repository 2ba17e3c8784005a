"""What Fairlead costs and how it behaves under load, measured from outside: over the wire, as its users meet it.

`python -m perf <mode>`; each mode is one file in `perf.modes`. The clients of a run are spread over a few processes
(`fleet`), each of which opens its share on schedule (`pacing`, `generator`) with a client that does as little as the
protocol allows (`wire_client`, `frames`, `ears`), in whatever protocol the measured system speaks (`dialects`).
Backends publish from a process of their own (`publisher`, `ways`). perf knows the contract in `proto`, and none of the
services, but for `micro`, which takes an edge's parts into its own process.
"""
