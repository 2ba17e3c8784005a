"""Keeps the public keys of tokens as a JWKS endpoint has them: read every so often, and when a key is not known yet.

While the endpoint is away or answers nonsense, the keys that it gave last stay good.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from services.edge.tokens.token_keys import KeySet

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S: Final = 3.0
"""For the whole answer: clients wait for it, and give up on a connect after 5 s."""
DOCUMENT_LIMIT_BYTES: Final = 256 * 1024
RETRY_S: Final = 10.0
QUIET_S: Final = 5.0
"""After the endpoint was asked, how long tokens with unknown keys do not make it be asked again: anybody can make up
a `kid`."""


class JwksFetcher:
    """Fills `keys` from `url`. `clock` is any clock in seconds that does not go back. `run` and then `close` it."""

    def __init__(self, url: str, keys: KeySet, refresh_s: float, clock: Callable[[], float]) -> None:
        self._url = url
        self._keys = keys
        self._refresh_s = refresh_s
        self._clock = clock
        self._asked_at = -math.inf
        self._fetching: asyncio.Task[bool] | None = None
        self._client: httpx.AsyncClient | None = None
        self._closed = False
        self._refusals: list[str] = []

    async def run(self) -> None:
        """Reads the endpoint at once and then every `refresh_s`, after a failure sooner. Does not return."""
        while True:
            good = await self.refresh()
            await asyncio.sleep(self._refresh_s if good else min(RETRY_S, self._refresh_s))

    async def close(self) -> None:
        """Ends what is going on. Nothing is read any more."""
        self._closed = True
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        if self._client is not None:
            await self._client.aclose()

    async def wanted(self, kid: str) -> bool:
        """To be called when a token is signed with a key that is not known; then verify it again.

        False if the endpoint could not be asked (it was asked a moment ago, or failed): then a key that is still
        unknown may be known later, and the client had better come again.
        """
        if self._fetching is None:
            if self._clock() < self._asked_at + QUIET_S:
                return False
            log.info("a token is signed with an unknown key, %.64r: asking for the keys", kid)
        return await self.refresh()

    async def refresh(self) -> bool:
        """Reads the endpoint and replaces the keys; False if that failed. Calls at the same time share one reading."""
        if self._closed:
            return False
        if self._fetching is None:
            self._asked_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
        fetching = self._fetching
        await asyncio.wait([fetching])  # a caller that is cancelled does not end it for the others
        return not fetching.cancelled() and fetching.result()

    async def _fetch(self) -> bool:
        try:
            # Half a second of imports: not needed without an endpoint, and not to be waited for by the loop.
            if self._client is None:
                self._client = await asyncio.to_thread(_new_client)
            return await self._read(self._client)
        finally:
            self._fetching = None

    async def _read(self, client: httpx.AsyncClient) -> bool:
        from services.edge.tokens.token_public_keys import NoKeys, keys_from_jwks

        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                document = await _download(client, self._url)
            keys, refusals = keys_from_jwks(document)
        except Exception as error:  # not only httpx's: an address with port 99999 ends in an ExceptionGroup
            # The address may hold a password, and a text of the libraries may hold the address.
            why = error if isinstance(error, NoKeys) else type(error).__name__
            log.warning("client.token_jwks_public_endpoint gives no keys, the old ones stay: %s", why)
            return False
        if refusals and refusals != self._refusals:
            log.info("client.token_jwks_public_endpoint: some keys are not used: %s", "; ".join(refusals[:5]))
        self._refusals = refusals
        if not keys:
            log.warning("client.token_jwks_public_endpoint has no key that tokens can be checked with")
        self._keys.replace_fetched(keys)
        return True


def _new_client() -> httpx.AsyncClient:
    import httpx

    import services.edge.tokens.token_public_keys  # noqa: F401 - here, off the loop

    limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
    # Its timeout would be one for each step, which says nothing about the whole.
    return httpx.AsyncClient(timeout=None, limits=limits, follow_redirects=False)


async def _download(client: httpx.AsyncClient, url: str) -> bytes:
    """Raises `NoKeys` for an answer that is too large or not one, and httpx's errors."""
    from services.edge.tokens.token_public_keys import NoKeys

    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}  # compressed, the limit would mean nothing
    async with client.stream("GET", url, headers=headers) as response:
        if response.status_code != 200:
            raise NoKeys(f"status {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > DOCUMENT_LIMIT_BYTES:
                raise NoKeys(f"more than {DOCUMENT_LIMIT_BYTES} bytes")
        return bytes(body)
