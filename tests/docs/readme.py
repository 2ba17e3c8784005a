"""The code of the README."""

from __future__ import annotations

import re

from tests.stack.checkout import ROOT

_ADDRESS = "ws://127.0.0.1:8000/connection/websocket"


def block(language: str, address: str) -> str:
    """The one block in this language, for a stack at another address."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found.count(_ADDRESS) == 1
    return str(found.replace(_ADDRESS, address))
