"""The labels by which metrics tell clients apart: from bounded sets, whatever clients say about themselves."""

from __future__ import annotations

from typing import Final

LIBRARIES: Final = frozenset({"js", "python", "go", "dart", "swift", "java", "csharp"})
"""The names under which the stock SDKs connect."""

OTHER: Final = "other"

_TWO_WAY: Final = ("websocket", "sse", "http_stream")
EXPECTED_CLIENTS: Final = (
    *((transport, "js") for transport in _TWO_WAY),
    *((transport, OTHER) for transport in (*_TWO_WAY, "uni_websocket", "uni_sse", "uni_http_stream")),
)
"""Transport and library of the clients that most edges have. Their series exist before the first client comes; series
of each library on each transport would be four times as many, in every scrape."""


def library_of(name: str) -> str:
    """The library of a client that connected under `name`; `OTHER` for one that no stock SDK uses."""
    return name if name in LIBRARIES else OTHER
