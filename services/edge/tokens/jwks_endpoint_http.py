"""The endpoint that serves public keys for tokens: its JWKS document, downloaded within bounds and read.

Imported late, and off the event loop: httpx and `token_public_keys` take half a second to load.
"""

from __future__ import annotations

from typing import Final

import httpx

from services.edge.tokens.token_keys import BadJwks
from services.edge.tokens.token_public_keys import PublicKey, keys_from_jwks

DOCUMENT_LIMIT_BYTES: Final = 256 * 1024


class JwksClient:
    """Reads documents from any address, up to `connections` at once. It has no timeout of its own: `JwksFetcher` has
    one for the whole answer.
    """

    def __init__(self, connections: int) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=0)
        # httpx's timeout applies to each step, and does not bound the whole.
        self._client = httpx.AsyncClient(timeout=None, limits=limits, follow_redirects=False)

    async def keys(self, url: str) -> tuple[list[PublicKey], list[str]]:
        """The keys that can check tokens, and a text for each that cannot. Raises `BadJwks`, and httpx's errors."""
        return keys_from_jwks(await self._download(url))

    async def _download(self, url: str) -> bytes:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}  # the limit is on what is transferred
        async with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                raise BadJwks(f"status {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > DOCUMENT_LIMIT_BYTES:
                    raise BadJwks(f"more than {DOCUMENT_LIMIT_BYTES} bytes")
            return bytes(body)

    async def close(self) -> None:
        await self._client.aclose()
