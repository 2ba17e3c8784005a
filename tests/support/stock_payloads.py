"""An application's payloads as a Protobuf SDK has them: bytes, which are JSON unless the test gave bytes."""

from __future__ import annotations

import json
from typing import Any


def as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def from_bytes(data: bytes | None) -> Any:
    """None for no payload; the bytes themselves if they are not JSON."""
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data
