"""A client of plain HTTP for tests."""

from __future__ import annotations

from typing import Any

import httpx


def http_client(**options: Any) -> httpx.AsyncClient:
    """Without TLS, whose certificates take 20 ms to load each time, and without the proxies of the environment."""
    return httpx.AsyncClient(**{"verify": False, "trust_env": False, **options})
