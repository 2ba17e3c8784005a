"""The modes of `python -m perf`: one module each, its name is the mode's, its docstring is the mode's help.

A mode has `add_arguments(parser)` and `async run(arguments, settings) -> int`, which gives the exit code: 0 when all
that was asked for happened, 1 when something failed. `perf.refusal.Refusal` is raised before anything was started.
"""
