"""What metrics tell clients apart by: labels from bounded sets, whatever clients say of themselves."""

from __future__ import annotations

from typing import Final

LIBRARIES: Final = frozenset({"js", "python", "go", "dart", "swift", "java", "csharp"})
"""The names under which the stock SDKs connect."""

OTHER: Final = "other"


def library_of(name: str) -> str:
    """The library of a client that connected under `name`; `OTHER` for one that no stock SDK uses."""
    return name if name in LIBRARIES else OTHER
