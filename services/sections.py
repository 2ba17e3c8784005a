"""The names of all sections of the configuration file.

One `fairlead.toml` configures all services, so each meets sections that another one reads. Services do not import each
other, and without the names a service could not tell another's section from a misspelt one. Which sections a service
reads and what they hold is declared in its own `settings`; `tests/test_sections.py` holds this list against those.
"""

from __future__ import annotations

from typing import Final

SECTIONS: Final = frozenset(
    {
        "nats",
        "log",
        "process",
        "http_api",
        "edge",
        "client",
        "channel",
        "backends",
        "rpc",
        "limits",
        "sessions",
        "postgres",
        "outbox",
        "metrics",
        "history",
        "capacity",
        "forecast",
        "tracing",
        "privacy",
    }
)
