"""The systems that `python -m perf compare` runs side by side, Fairlead among them.

Each is started as its own documentation has it, on a free port of loopback, in a process tree of its own, and stopped
again. What they need besides this checkout lies in `.perf/` and comes there by `perf compare --install`.
"""
