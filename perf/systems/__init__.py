"""The systems that `python -m perf compare` measures one after the other, Fairlead among them.

Each is started as its own documentation says, on free ports of loopback, in its own process tree, and stopped again.
What they need besides this checkout is in `.perf/`, where `perf compare --install` puts it.
"""
