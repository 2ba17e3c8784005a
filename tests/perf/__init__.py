"""perf: the load generator itself. An error in it makes every figure wrong."""
