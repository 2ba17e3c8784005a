"""perf: the load generator itself. A generator that is wrong makes every figure wrong."""
