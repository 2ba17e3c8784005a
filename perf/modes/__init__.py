"""The modes of `python -m perf`: `NAMES` lists them; the module of that name is the mode, and its docstring is the
help.

A mode has `add_arguments(parser)` and `async run(arguments, settings) -> int`, which returns the exit code: 0 if
everything succeeded, 1 if something failed. It raises `perf.errors.Refusal` before anything is started. Its figures are
a struct below `perf.report.figures.Figures`.
"""

NAMES = (
    *("connect", "accept", "hold", "memory", "fanout", "latency", "chat", "storm", "slow", "start", "drain", "ghosts"),
    *("comeback", "unread"),
    *(
        "micro",
        "proofs",
        "limits",
        "hooks",
        "observed",
        "budget",
        "fold",
        "queries",
        "webhooks",
        "outbox",
        "compare",
        "scale",
        "attacks",
        "forecast",
        "limit",
        "autoscale",
    ),
)
